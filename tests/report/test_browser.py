"""The page in a real browser: what it shows, by mouse and by keyboard, and that it asks nobody for anything."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import quote

import pytest
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.remote.webelement import WebElement
from selenium.webdriver.support.select import Select

from tests.report.browser import NARROW, WIDE, Browser, needs_browser
from tests.report.conftest import CELL, FAILED, HOSTILE

pytestmark = needs_browser

RUN = f"{CELL}/output/seed1"
METHODS = ("baseline", "output", "output_control")


def column(browser: Browser, table: str, title: str) -> list[str]:
    """The texts of a column, as the rows stand now."""
    return list(
        browser.run(
            """
            const table = [...document.querySelectorAll("table")].find(
                (one) => one.id === arguments[0] || one.getAttribute("aria-labelledby") === arguments[0]);
            const at = [...table.tHead.rows[0].cells].findIndex((cell) => cell.innerText.trim() === arguments[1]);
            return [...table.tBodies[0].rows].map((row) => row.cells[at]?.innerText);
            """,
            table,
            title,
        )
    )


def accuracies(browser: Browser) -> list[float]:
    """Those of the table of runs, as its rows stand now."""
    return [float(text) for text in column(browser, "h-runs", "accuracy, %") if text]


def sorter(browser: Browser, table: str, title: str) -> WebElement:
    """What sorts a table by a column: an element that has the focus of the keyboard and says so."""
    cells = browser.driver.find_elements(By.CSS_SELECTOR, f"table[aria-labelledby='{table}'] thead th")
    [cell] = [cell for cell in cells if cell.get_attribute("innerText").strip() == title]  # type: ignore[union-attr]
    return cell.find_element(By.CSS_SELECTOR, "[role=button]")


def test_nothing_complains_and_nothing_is_asked_of_anybody(page: Path, browser: Browser) -> None:
    browser.open(page)
    browser.open(page, f"#run/{RUN}")

    assert browser.complaints() == []
    assert {address.partition("#")[0] for address in browser.requests()} - {"about:blank"} == {page.as_uri()}


def test_the_policy_forbids_the_network(page: Path, browser: Browser) -> None:
    browser.open(page)
    browser.run("fetch('http://127.0.0.1:9/').catch(() => {}); new Image().src = 'http://127.0.0.1:9/image.png'")
    browser.run(
        "const one = document.createElement('script'); one.textContent = 'window.ran = 1'; document.body.append(one)"
    )

    assert browser.run("return window.ran ?? 'did not run'") == "did not run"
    told: list[str] = []

    def forbidden() -> bool:
        told.extend(browser.complaints())
        return all(any(rule in line for line in told) for rule in ("connect-src", "img-src", "script-src"))

    browser.wait(forbidden)
    assert all("Content Security Policy" in line or "127.0.0.1" in line for line in told)


def test_hostile_names_are_shown_as_they_are(page: Path, browser: Browser) -> None:
    browser.open(page)

    assert browser.driver.title == f"{HOSTILE}: report"
    assert browser.run("return document.querySelector('h1').textContent") == HOSTILE
    assert browser.run("return document.scripts.length") == 3
    assert f"Agreement helps. {HOSTILE}" in browser.run("return document.querySelector('.claim h3').textContent")
    assert f"{HOSTILE}0" in column(browser, "table-classes", "class")
    assert HOSTILE in browser.run("return document.getElementById('trust').textContent"), "the host's name"
    browser.open(page, f"#run/{FAILED}")
    assert f"the disk is full {HOSTILE}" in browser.run("return document.getElementById('run').textContent")


@pytest.mark.parametrize("by", ["mouse", "keyboard"])
def test_a_table_is_sorted(by: str, page: Path, browser: Browser) -> None:
    browser.open(page)
    before = accuracies(browser)

    for order in ("ascending", "descending"):
        target = sorter(browser, "h-runs", "accuracy, %")
        if by == "mouse":
            browser.run("arguments[0].scrollIntoView({block: 'center'})", target)
            target.click()
        else:
            browser.run("arguments[0].focus()", target)
            browser.driver.switch_to.active_element.send_keys(Keys.ENTER)
        wanted = sorted(before, reverse=order == "descending")
        browser.wait(lambda: accuracies(browser) == wanted)  # noqa: B023 - called at once
        states = browser.run("return [...document.querySelectorAll('#all-runs th')].map((one) => one.ariaSort)")
        assert order in states, "readers of screens are told"


@pytest.mark.parametrize("by", ["mouse", "keyboard"])
def test_a_filter_holds_for_all_tables(by: str, page: Path, browser: Browser) -> None:
    browser.open(page)
    [label] = [one for one in browser.driver.find_elements(By.CSS_SELECTOR, "#filters label") if "method" in one.text]
    field = label.find_element(By.TAG_NAME, "select")
    if by == "mouse":
        Select(field).select_by_visible_text("output")
    else:
        browser.run("arguments[0].focus()", field)
        browser.driver.switch_to.active_element.send_keys("output")

    tables = ("h-runs", "table-methods", "table-classes")
    for table in tables:
        browser.wait(lambda: set(column(browser, table, "method")) == {"output"})  # noqa: B023 - called at once
    assert {method for table in tables for method in column(browser, table, "method")} == {"output"}
    field.send_keys(Keys.HOME)
    browser.wait(lambda: set(column(browser, "h-runs", "method")) == set(METHODS))


def test_words_are_searched_for_within_a_table(page: Path, browser: Browser) -> None:
    browser.open(page)
    field = browser.driver.find_element(By.CSS_SELECTOR, "#runs input[type=search]")
    field.send_keys("seed1 failed")

    browser.wait(lambda: len(column(browser, "h-runs", "run")) == 1)
    assert column(browser, "h-runs", "run") == [FAILED]


def test_the_address_of_a_run_shows_all_that_is_known_of_it(page: Path, browser: Browser) -> None:
    browser.open(page, f"#run/{quote(RUN)}")
    text = browser.run("return document.getElementById('run').textContent")

    assert browser.run("return document.activeElement.textContent") == RUN, "the keyboard is there"
    assert not browser.driver.find_element(By.ID, "overview").is_displayed()
    for said in ("collabpipe train ", "collabpipe evaluate ", "last.safetensors", "collabpipe export weights "):
        assert said in text
    assert browser.run("return document.querySelectorAll('#run .curve polyline').length") == 2
    browser.driver.find_element(By.LINK_TEXT, "← All runs").click()
    browser.wait(browser.driver.find_element(By.ID, "overview").is_displayed)
    browser.driver.find_element(By.LINK_TEXT, RUN).click()
    browser.wait(lambda: browser.run("return document.querySelector('#run h2')?.textContent") == RUN)
    browser.driver.back()
    browser.wait(browser.driver.find_element(By.ID, "overview").is_displayed)


def test_the_address_of_no_run_says_so(page: Path, browser: Browser) -> None:
    browser.open(page, f"#run/{quote(HOSTILE)}")

    assert f"no run {HOSTILE}." in browser.run("return document.getElementById('run').textContent")


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("width", [WIDE, NARROW])
@pytest.mark.parametrize("fragment", ["", f"#run/{RUN}", f"#run/{FAILED}"])
def test_everybody_can_use_it_in_either_theme_and_at_any_width(
    fragment: str, width: int, theme: str, page: Path, browser: Browser
) -> None:
    browser.look(width, theme)
    browser.open(page, fragment)

    assert browser.faults() == []
    assert browser.run("return document.documentElement.scrollWidth") <= width, "nothing hangs over"


def test_axe_finds_faults_where_there_are_any(page: Path, browser: Browser) -> None:
    # Otherwise the test above would hold of anything.
    browser.open(page)
    browser.run(
        "document.querySelector('h1').style.color = '#eee'; document.querySelector('img').removeAttribute('alt')"
    )

    found = [fault.partition(":")[0] for fault in browser.faults()]
    assert {"color-contrast", "image-alt"} <= set(found)
