"""Exact tests of a rate: two-sided p-values of a count against a known rate, or against another count."""


def binomial_p_value(hits: int, n: int, share: float) -> float:
    """Return the probability that `n` texts of a known rate have a count at most as likely as `hits`.

    Source: the exact two-sided binomial test, `scipy.stats.binomtest`.

    >>> round(binomial_p_value(8, 10, 0.5), 4)
    0.1094
    """
    from scipy.stats import binomtest  # slow to import

    return float(binomtest(hits, n, share).pvalue)


def fisher_p_value(hits: int, n: int, other_hits: int, other_n: int) -> float:
    """Return the probability that two sets of texts of one rate split their hits at most as likely as here.

    Source: Fisher's exact two-sided test, `scipy.stats.fisher_exact`.

    >>> round(fisher_p_value(3, 4, 1, 4), 4)
    0.4857
    """
    from scipy.stats import fisher_exact  # slow to import

    return float(fisher_exact([[hits, n - hits], [other_hits, other_n - other_hits]]).pvalue)
