"""Run it: plan, pressure budget, sampler, importance sampling, replay, exploration."""
