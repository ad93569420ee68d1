"""The page in headless Chromium, where Chromium and its driver are installed (Debian: chromium, chromium-driver)."""

import shutil
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

import pytest
from helpers.pagereader import HOSTILE

import steer
from steer.reports.report import Report
from steer.runs.sample_set import SampleSet
from vectors.model.residual_model import ResidualModel

CHROMIUM, DRIVER = (shutil.which(name) for name in ("chromium", "chromedriver"))
MANY = 2000
PATIENCE = 1.0
"""Seconds that a slow machine may take for what takes a tenth of a second on a fast one."""

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None or DRIVER is None, reason="needs chromium and chromium-driver"),
]


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """A browser that reaches no network."""
    from selenium import webdriver

    options = webdriver.ChromeOptions()
    options.binary_location = str(CHROMIUM)
    for each in ("headless=new", "no-sandbox", "disable-dev-shm-usage", "disable-gpu", "window-size=1280,1000"):
        options.add_argument(f"--{each}")
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driver = webdriver.Chrome(options=options, service=webdriver.ChromeService(str(DRIVER)))
    driver.set_network_conditions(offline=True, latency=0, throughput=0)
    yield driver
    driver.quit()


@pytest.fixture(scope="module")
def many(almanac: ResidualModel, run: SampleSet, measured: Report, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A page of 2,000 texts, some of which are markup and control characters."""
    assert measured.costs is not None
    times = MANY // len(run) + 1
    samples = [replace(each, index=place) for place, each in enumerate(islice(list(run) * times, MANY))]
    costs = tuple(islice(measured.costs * times, MANY))
    samples[: len(HOSTILE)] = [replace(each, text=text) for each, text in zip(samples, HOSTILE, strict=False)]
    report = replace(measured, costs=costs)
    place = tmp_path_factory.mktemp("page") / "many.html"
    place.write_text(steer.page({"many.jsonl": SampleSet(samples)}, [report], model=almanac))
    return place


@pytest.fixture
def page(browser: Any, many: Path) -> Any:
    """The browser, with the page open anew."""
    browser.get(many.as_uri())
    return browser


def articles(page: Any, inside: str = "#groups") -> int:
    return page.execute_script("return document.querySelectorAll(arguments[0] + ' article').length", inside)


def choose(page: Any, control: str, value: str) -> float:
    """Set a control as a hand would, and return the seconds until the page is drawn again."""
    return page.execute_async_script(
        """const [name, value, done] = arguments, control = document.getElementById(name), began = performance.now();
        if (control.type === "checkbox") control.checked = value === "on"; else control.value = value;
        control.dispatchEvent(new Event(control.type === "search" ? "input" : "change"));
        requestAnimationFrame(() => setTimeout(() => done((performance.now() - began) / 1000)));""",
        control,
        value,
    )


def within_seconds(condition: Callable[[], bool], seconds: float = 10.0) -> bool:
    """Wait until a condition holds, and return whether it does."""
    deadline = time.monotonic() + seconds
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.05)
    return condition()


def key(page: Any, *keys: str) -> None:
    page.switch_to.active_element.send_keys(*keys)


def test_two_thousand_texts_do_not_lag(page: Any):
    loaded = page.execute_script("return performance.getEntriesByType('navigation')[0].loadEventEnd")
    assert 0 < loaded < 8 * 1000 * PATIENCE
    assert articles(page) == MANY
    assert choose(page, "group", "mood") < PATIENCE
    assert choose(page, "sort", "pressure") < PATIENCE
    assert choose(page, "down", "on") < PATIENCE
    assert choose(page, "group", "") < PATIENCE
    paid = page.execute_script(
        "return [...document.querySelectorAll('#groups article')].map(each => JSON.parse(each.dataset.sort).pressure)"
    )
    assert len(paid) == MANY and paid == sorted(paid, reverse=True)


def test_markup_of_a_text_never_runs(page: Any):
    assert page.title != "owned" and page.get_log("browser") == []
    assert page.execute_script("return document.querySelectorAll('img, script').length") == 1
    shown = page.execute_script("return document.getElementById('t1-0').querySelector('.text').textContent")
    assert shown == HOSTILE[0]


def test_texts_are_found_and_shown_by_group(page: Any):
    choose(page, "find", "OWNED")
    assert within_seconds(lambda: articles(page) == 1)
    assert "1 of 2000" in page.find_element("id", "count").text
    choose(page, "find", "")
    assert within_seconds(lambda: articles(page) == MANY)
    choose(page, "group", "form")
    shown = page.execute_script("return [...document.getElementById('only').options].map(each => each.value)")
    choose(page, "only", "sonnet")
    assert "sonnet" in shown and 0 < articles(page) < MANY
    heads = page.execute_script("return [...document.querySelectorAll('#groups h3')].map(each => each.textContent)")
    assert heads == [f"sonnet {articles(page)}"]


def test_the_keyboard_reaches_every_text_and_token(page: Any):
    from selenium.webdriver.common.keys import Keys

    page.execute_script("document.querySelector('#groups article[tabindex=\"0\"]').focus()")
    first = page.switch_to.active_element.get_attribute("id")
    key(page, "j", "j")
    third = page.switch_to.active_element.get_attribute("id")
    key(page, "k", "k")
    assert page.switch_to.active_element.get_attribute("id") == first != third
    key(page, "j", "j", "j", "j", "j", Keys.ARROW_RIGHT, Keys.ARROW_RIGHT)
    token = page.execute_script("return document.querySelector('.at').dataset.t").split()
    announcement = page.execute_script("return document.getElementById('announcement').textContent").replace(
        "\N{MINUS SIGN}", "-"
    )
    assert f"pressure {token[0]} nats" in announcement and f"{token[1]} base, {token[2]} steered" in announcement
    key(page, Keys.ESCAPE)
    assert not page.find_element("id", "tooltip").is_displayed()
    stops = page.execute_script("return document.querySelectorAll('#groups [tabindex=\"0\"]').length")
    assert stops == 1  # one stop for the tab key, not two thousand


def test_a_pointer_shows_what_a_token_cost(page: Any):
    from selenium.webdriver.common.action_chains import ActionChains

    token = page.find_element("css selector", "#t1-10 [data-t]")
    page.execute_script("arguments[0].scrollIntoView({block: 'center'})", token)
    tooltip = page.find_element("id", "tooltip")

    def pointer_shows_it() -> bool:
        ActionChains(page).move_to_element_with_offset(token, 1, 0).move_to_element(token).perform()
        return tooltip.is_displayed()

    assert within_seconds(pointer_shows_it)  # a late scroll event hides it, and the next move shows it again
    assert f"pressure {token.get_attribute('data-t').split()[0]} nats" in tooltip.text


def test_a_narrow_window_scrolls_down_only(page: Any):
    page.set_window_size(500, 800)
    wide = page.execute_script("return document.documentElement.scrollWidth - document.documentElement.clientWidth")
    page.set_window_size(1280, 1000)
    assert wide <= 0


def test_paper_shows_every_text_and_no_control(page: Any, run: SampleSet):
    page.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "print"})
    assert not page.find_element("id", "controls").is_displayed()
    height = page.execute_script("return document.getElementById('t1-1999').offsetHeight")
    page.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": ""})
    assert height > 40
