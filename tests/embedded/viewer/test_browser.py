"""The dashboards in a real browser, as people use them."""

from __future__ import annotations

import json
import re
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from selenium.webdriver import ActionChains
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys

from cvat_analytics.dashboards import load
from tests.browser import Page
from tests.clickhouse import Store
from tests.dashboards.events import RANGE

TIMES = {
    "from": str(round(RANGE.start.timestamp() * 1000)),
    "to": str(round(RANGE.end.timestamp() * 1000)),
}
ALL_EVENTS, MANAGEMENT, MONITORING = "EIGSTDAVz", "w0if6WAVz", "WvDvWK04k"
DASHBOARDS = load()
every_dashboard = pytest.mark.parametrize("dashboard", DASHBOARDS, ids=lambda dashboard: dashboard.file.stem)


def choose(page: Page, variable: str, *texts: str) -> None:
    """Choose values of a filter by their names."""
    page.find(f'[data-variable="{variable}"]').click()
    search = page.wait(lambda: page.all('.popup input[type="search"]'))[0]
    for text in texts:
        search.clear()
        search.send_keys(text)
        page.wait(lambda: len(page.all(".popup .options label")) == 1)
        page.find(".popup .options label").click()
    apply(page)


def apply(page: Page) -> None:
    """Close a list with its button and wait for what comes of it."""
    page.find(".popup footer button:first-child").click()
    page.wait(lambda: not page.all(".popup"))
    page.settle()


@every_dashboard
def test_a_dashboard_loads_and_all_of_it_is_drawn(page: Page, dashboard: Any) -> None:
    page.open(dashboard.uid, **TIMES)
    assert page.find("h1").text == dashboard.title
    assert "Viewer of the embedded stack, not Grafana" in page.find(".substitute").text
    problems = {
        page.find("h2", each.find_element(By.XPATH, "ancestor::section")).text: each.text
        for each in page.all(".panel .problem")
    }
    assert problems == {}
    assert [each.get_attribute("aria-label") for each in page.all(".info.warning")] == []
    titles = {each.id: each.title.replace("${time_zone}", "UTC") for each in dashboard.panels}
    assert {page.find("h2", each).text for each in page.all(".panel")} == set(titles.values())
    for number, title in titles.items():
        assert page.all(f'#panel-{number} .info[aria-label="What {title} means"]')
    for panel in page.all(".panel"):
        if page.all("canvas", panel):
            assert page.ink(panel) > 2, panel.text
    wide = "return [...document.querySelectorAll('html, .body')].filter((each) => each.scrollWidth > each.clientWidth + 1).map((each) => each.className)"
    try:
        for width in (1280, 1920):
            page.browser.set_window_size(width, 1000)
            page.wait(lambda: page.run("return innerWidth"), "the window is so wide", width.__eq__)
            page.frames()
            assert (width, page.run(wide)) == (width, [])
    finally:
        page.browser.set_window_size(1600, 1000)
    assert page.errors() == []


def test_an_empty_range_says_what_to_check(page: Page) -> None:
    page.open(MONITORING, **{"from": "1000000000", "to": "1000600000"})
    assert page.all(".panel .problem") == []
    expected = {
        each.title: each.model.get("fieldConfig", {}).get("defaults", {}).get("noValue")
        for board in DASHBOARDS
        if board.uid == MONITORING
        for each in board.panels
    }
    for panel in page.all(".panel:has(.empty)"):
        own = expected[page.find("h2", panel).text]
        assert (own or "Choose a longer time range") in page.find(".empty", panel).text
    assert len(page.all(".panel:has(.empty)")) >= 4
    assert page.errors() == []


def test_a_filter_narrows_the_table_and_is_in_the_address(page: Page) -> None:
    page.open(ALL_EVENTS, **TIMES)
    before = set(page.column(page.panel("All events"), "user_id"))
    assert len(before) > 2
    choose(page, "users", "anna", "花子")
    assert page.query()["var-users"] == ["1", "3"]
    assert set(page.column(page.panel("All events"), "user_id")) == {"1", "3"}
    assert "anna (1)" in page.find('[data-variable="users"]').text
    page.browser.back()
    page.wait(lambda: "var-users" not in page.query() or page.query()["var-users"] == ["$__all"])
    page.settle()
    assert set(page.column(page.panel("All events"), "user_id")) == before


def test_filters_depend_on_each_other_and_all_takes_the_choice_away(page: Page) -> None:
    page.open(MANAGEMENT, **TIMES, **{"var-tasks": "2"})
    page.find('[data-variable="jobs"]').click()
    page.wait(
        lambda: [each.text.split(" ")[0] for each in page.all(".popup .options label")],
        "the jobs of the task",
        lambda jobs: jobs == ["All", "4", "3"],
    )
    page.find(".popup input[type=search]").send_keys(Keys.ESCAPE)
    page.wait(lambda: not page.all(".popup"))
    page.find('[data-variable="tasks"]').click()
    page.wait(lambda: page.all(".popup .options .all"))[0].click()
    apply(page)
    assert page.query()["var-tasks"] == ["$__all"]
    assert len(set(page.column(page.panel("Working time"), "Task ID"))) > 1


def test_a_choice_of_one_changes_what_a_panel_shows(page: Page, store: Store) -> None:
    store.refresh()
    page.open(MANAGEMENT, **TIMES)
    find = "return [...arguments[0].querySelectorAll('th .name')].map((name) => name.textContent)"
    before = page.run(find, page.panel("Working time"))
    computed = page.find("tfoot", page.panel("Working time")).text
    page.find('[data-variable="working_time"]').click()
    page.wait(lambda: page.all(".popup .options label"))[1].click()
    page.wait(lambda: page.query().get("var-working_time") == ["reported"])
    page.settle()
    assert "Reported" in page.find('[data-variable="working_time"]').text
    assert before == page.run(find, page.panel("Working time"))
    assert computed != page.find("tfoot", page.panel("Working time")).text


def test_free_text_finds_one_request(page: Page, store: Store) -> None:
    request = "5f0c2a52-6a3a-4f0e-9d4e-1f2f3a4b5c6d"
    payload = json.dumps({"request": {"id": request}})
    when = f"{RANGE.start:%Y-%m-%d} 23:00:00.123"
    store.insert(
        [{"scope": "create:tags", "source": "server", "timestamp": when, "user_id": 1, "payload": payload}]
    )
    page.open(ALL_EVENTS, **TIMES)
    field = page.find('input[data-variable="request_id"]')
    field.send_keys(request, Keys.ENTER)
    page.wait(lambda: page.query().get("var-request_id") == [request])
    page.settle()
    assert page.column(page.panel("All events"), "scope") == ["create:tags"]


def test_columns_sort_both_ways_and_back(page: Page) -> None:
    page.open(MONITORING, **TIMES)
    panel = page.panel("Number of events")
    original = page.column(panel, "Count")
    button = 'button[data-focus="sort Count"]'
    page.find(button, panel).click()
    rising = [int(each.replace(",", "")) for each in page.column(panel, "Count")]
    assert rising == sorted(rising)
    assert page.find("th[aria-sort=ascending]", panel).text.startswith("Count")
    page.run("arguments[0].focus()", page.find(button, panel))
    ActionChains(page.browser).send_keys(Keys.ENTER).perform()
    falling = [int(each.replace(",", "")) for each in page.column(panel, "Count")]
    assert falling == sorted(falling, reverse=True)
    page.find(button, panel).click()
    assert page.column(panel, "Count") == original


def test_a_column_filter_narrows_rows_and_totals_and_survives_a_refresh(page: Page) -> None:
    page.open(MONITORING, **TIMES)
    panel = page.panel("Number of events")
    total = page.find("tfoot", panel).text
    page.find('button[aria-label="Filter Source"]', panel).click()
    page.wait(lambda: page.all(".popup .options label"))
    page.find('.popup input[value="server"]').click()
    apply(page)
    assert set(page.column(panel, "Source")) == {"server"}
    counts = [int(each.replace(",", "")) for each in page.column(panel, "Count")]
    assert page.find("tfoot", panel).text == f"Total {sum(counts):,}" != total
    page.find("#reload").click()
    page.settle()
    assert set(page.column(panel, "Source")) == {"server"}
    page.find(".chip", panel).click()
    assert page.find("tfoot", panel).text == total


def test_pages_of_a_table_hold_all_rows_once(page: Page) -> None:
    page.open(ALL_EVENTS, **TIMES)
    panel = page.panel("All events")
    seen = []
    for _ in range(100):
        seen += page.column(panel, "timestamp")
        following = page.find('button[aria-label="Next page"]', panel)
        if not following.is_enabled():
            break
        following.click()
    assert len(seen) == int(
        page.find(".pager .quiet:last-child", panel).text.split(" of ")[1].split(" ")[0].replace(",", "")
    )
    assert seen == sorted(seen, reverse=True)


def test_the_inspector_shows_a_whole_value(page: Page) -> None:
    page.open(MONITORING, **TIMES)
    panel = page.panel("Exceptions table")
    eye = page.all('button[aria-label="Inspect payload"]', panel)[0]
    page.run("arguments[0].focus(); arguments[0].click()", eye)
    drawer = page.find("dialog.drawer")
    text = page.find("pre", drawer).text
    assert text.startswith('{\n  "message": ')
    assert json.loads(text)["stack"] == "at a\nat b"
    ActionChains(page.browser).send_keys(Keys.ESCAPE).perform()
    page.wait(lambda: not page.all("dialog"))


def test_a_click_on_a_payload_shows_the_whole_event(page: Page) -> None:
    page.open(MONITORING, **TIMES)
    links = page.all('tbody a[href*="var-event="]', page.panel("Exceptions table"))
    page.run("arguments[0].click()", links[0])
    page.wait(lambda: re.fullmatch(r"\d+_[0-9A-F]{16}", page.query().get("var-event", [""])[0]))
    page.wait(lambda: len(page.all("tbody tr")) == 1)
    panel = page.panel("All events")
    assert "send:exception" in page.all("tbody tr", panel)[0].text
    assert "event" not in [each.text for each in page.all("thead .name", panel)]


def test_a_link_leads_to_the_other_dashboard_with_time_range_and_filter(page: Page) -> None:
    page.open(ALL_EVENTS, **TIMES, **{"var-users": "1"})
    panel = page.panel("All events")
    link = next(
        each for each in page.all("tbody a", panel) if MANAGEMENT in (each.get_attribute("href") or "")
    )
    parts = urlsplit(link.get_attribute("href") or "")
    query = parse_qs(parts.query)
    assert parts.path == f"/analytics/d/{MANAGEMENT}/management"
    assert (query["from"], query["to"], query["var-users"]) == ([TIMES["from"]], [TIMES["to"]], ["1"])
    page.follow(link)
    assert f"/d/{MANAGEMENT}/" in page.browser.current_url
    assert page.find("h1").text == "Management"
    assert set(page.column(page.panel("Working time"), "User ID")) == {"1"}


def test_the_tabs_keep_time_range_and_filters(page: Page) -> None:
    page.open(ALL_EVENTS, **TIMES, **{"var-users": ["1", "3"]})
    page.follow(page.find(f'.tab[data-uid="{MONITORING}"]'))
    assert f"/d/{MONITORING}/" in page.browser.current_url
    query = page.query()
    assert (query["from"], query["var-users"], query["timezone"]) == ([TIMES["from"]], ["1", "3"], ["utc"])
    assert set(page.column(page.panel("Exceptions table"), "user_id")) <= {"1", "3"}


def test_the_heat_map_has_a_cell_for_each_day_worked(page: Page, store: Store) -> None:
    store.refresh()
    page.open(MANAGEMENT, **TIMES)
    panel = page.panel("Working hours by day (UTC)")
    (series,) = page.chart(panel)["series"]
    worked = store.rows(
        "SELECT user_id, local_day, sum(computed_ms) / 3600000 AS hours FROM working_time_in_range("
        f"since = fromUnixTimestamp64Milli({TIMES['from']}), until = fromUnixTimestamp64Milli({TIMES['to']})) "
        "WHERE user_id IS NOT NULL GROUP BY user_id, local_day HAVING hours > 0"
    )
    assert series["type"] == "heatmap"
    assert len(series["data"]) == len(worked)
    assert sum(cell[2] for cell in series["data"]) == pytest.approx(sum(row["hours"] for row in worked))
    assert page.ink(panel) > 10


def test_a_click_in_the_legend_isolates_a_line_and_a_second_one_brings_all_back(page: Page) -> None:
    page.open(MANAGEMENT, **TIMES)
    panel = page.panel("User activity")

    def drawn() -> list[str]:
        return [each["name"] for each in page.chart(panel)["series"] if each["data"]]

    everybody = drawn()
    assert len(everybody) > 3
    buttons = page.all(".legend .series", panel)
    name = buttons[1].text
    buttons[1].click()
    assert drawn() == [name]
    assert len(page.all('.legend .series[aria-pressed="true"]', panel)) == 1
    ActionChains(page.browser).key_down(Keys.CONTROL).click(page.all(".legend .series", panel)[0]).key_up(
        Keys.CONTROL
    ).perform()
    assert len(drawn()) == 2
    page.all(".legend .series", panel)[1].click()
    page.all(".legend .series", panel)[1].click()
    assert drawn() == everybody


def test_a_drag_over_a_graph_chooses_its_part(page: Page) -> None:
    page.open(MONITORING, **TIMES)
    chart = page.find(".chart", page.panel("Exceptions"))
    width = chart.size["width"]
    ActionChains(page.browser).move_to_element_with_offset(chart, -200, 0).click_and_hold().move_by_offset(
        150, 0
    ).move_by_offset(100, 0).release().perform()
    page.wait(lambda: page.query()["from"] != [TIMES["from"]])
    page.settle()
    start, end = int(page.query()["from"][0]), int(page.query()["to"][0])
    share = (end - start) / (int(TIMES["to"]) - int(TIMES["from"]))
    assert int(TIMES["from"]) < start < end < int(TIMES["to"])
    assert share == pytest.approx(250 / width, rel=0.1)


def test_times_are_in_the_chosen_time_zone(page: Page) -> None:
    page.open(ALL_EVENTS, **TIMES)
    utc = page.column(page.panel("All events"), "timestamp")[0]
    page.find("#zone option[value='Asia/Tokyo']").click()
    page.settle()
    assert page.query()["timezone"] == ["Asia/Tokyo"]
    tokyo = page.column(page.panel("All events"), "timestamp")[0]
    assert (int(tokyo[11:13]) - int(utc[11:13])) % 24 == 9
    assert tokyo[14:] == utc[14:]
    axis = page.chart(page.panel("Overall activity"))["xAxis"][0]
    assert axis["min"] == int(TIMES["from"]) + 9 * 3_600_000


def test_the_time_range_is_chosen_from_a_list_or_written(page: Page) -> None:
    page.open(MONITORING, **TIMES)
    assert page.find("#range").text.endswith("2026-03-04 15:00 to 2026-03-11 15:00")
    page.find("#range").click()
    page.wait(lambda: page.all("#from"))
    start, end = page.find("#from"), page.find("#to")
    for field, text in ((start, "2026-03-08 08:00"), (end, "2026-03-07")):
        field.clear()
        field.send_keys(text)
    end.send_keys(Keys.ENTER)
    assert page.find(".picker .problem").text == "It ends before it starts"
    end.clear()
    end.send_keys("2026-03-10 12:30", Keys.ENTER)
    page.wait(lambda: page.query()["from"] == ["1772956800000"])
    assert page.query()["to"] == ["1773145800000"]
    page.settle()
    times = page.column(page.panel("Exceptions table"), "timestamp")
    assert all("2026-03-08 08:00" <= each < "2026-03-10 12:31" for each in times)
    page.find("#range").click()
    next(
        each for each in page.wait(lambda: page.all(".picker .menu button")) if each.text == "Last 6 hours"
    ).click()
    page.wait(lambda: page.query()["from"] == ["now-6h"])
    page.settle()


@pytest.mark.parametrize(
    ("times", "message"),
    [
        ({"from": "yesterday"}, "time yesterday: write now, now-7d, now/d or milliseconds since 1970"),
        ({"from": "now-1h", "to": "now-2h"}, "time range from now-1h to now-2h: it ends before it starts"),
    ],
)
def test_a_time_that_makes_no_sense_is_explained(page: Page, times: dict[str, str], message: str) -> None:
    page.open(MONITORING, **times)
    assert page.find(".controls .problem").text == message


def test_light_and_dark(page: Page) -> None:
    page.open(MONITORING, **TIMES)

    def colours() -> tuple[str, str]:
        body = page.run("const s = getComputedStyle(document.body); return [s.backgroundColor, s.color]")
        return body[0], page.chart(page.panel("Exceptions"))["yAxis"][0]["axisLabel"]["color"]

    light = colours()
    page.find("#theme").click()
    dark = colours()
    assert light[0] != dark[0]
    assert light[1] != dark[1]
    page.browser.refresh()
    page.settle()
    assert colours() == dark
    page.find("#theme").click()
    page.browser.execute_cdp_cmd(
        "Emulation.setEmulatedMedia", {"features": [{"name": "prefers-color-scheme", "value": "dark"}]}
    )
    page.wait(lambda: page.run("return document.documentElement.dataset.theme") == "dark")
    page.browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": []})


def test_the_refresh_interval_loads_again(page: Page) -> None:
    page.open(MONITORING, **TIMES, refresh="1s")
    page.run(
        "window.asked = 0; const f = window.fetch; window.fetch = (...a) => { window.asked += 1; return f(...a); }"
    )
    page.wait(lambda: page.run("return window.asked") >= 6)
    page.find("#refresh option[value='']").click()
    page.settle()
    assert "refresh" not in page.query()


def test_without_the_chart_library_charts_are_tables(page: Page) -> None:
    page.browser.execute_cdp_cmd("Network.enable", {})
    page.browser.execute_cdp_cmd("Network.setBlockedURLs", {"urls": ["*echarts.js"]})
    try:
        page.open(MONITORING, **TIMES)
        panel = page.panel("Exceptions")
        assert page.all("canvas") == []
        assert len(page.rows(panel)) > 3
    finally:
        page.browser.execute_cdp_cmd("Network.setBlockedURLs", {"urls": []})


EVIL = "<script>alert(1)</script>\"&'<img src=x onerror=alert(2)>"


@every_dashboard
def test_data_is_text_never_markup(page: Page, store: Store, dashboard: Any) -> None:
    payload = json.dumps({"message": EVIL, "stack": EVIL, "platform": {"name": EVIL, "os": EVIL}})
    store.insert(
        [
            {"scope": scope, "source": "client", "timestamp": f"2020-01-02 00:00:0{i}.000", "user_id": 9, "user_name": EVIL, "project_id": 9, "task_id": 9, "job_id": 9,
             "obj_name": EVIL, "org_id": 9, "org_slug": EVIL, "payload": payload}
            for i, scope in enumerate([EVIL, "load:cvat", "send:exception", "create:task", "create:project"])
        ]
    )  # fmt: skip
    page.open(
        dashboard.uid,
        **{"from": "1577836800000", "to": "1578182400000", "var-users": ["9", EVIL], "var-errors": EVIL},
    )
    assert page.all("main script, main img, main style, [onerror]") == []
    for variable in page.all(".filters button"):
        variable.click()
        page.wait(lambda: page.all(".popup .options"))
        assert page.all(".popup script, .popup img") == []
        ActionChains(page.browser).send_keys(Keys.ESCAPE).perform()
        page.wait(lambda: not page.all(".popup"))
    if page.all(".legend .series"):
        chart = page.all(".chart")[0]
        ActionChains(page.browser).move_to_element(chart).perform()
        assert page.all(".tip script, .tip img") == []
    if dashboard.uid == MONITORING:
        cell = next(each for each in page.all("tbody td") if EVIL in each.text)
        assert EVIL in (cell.get_attribute("title") or "")
        assert EVIL in page.find(".chip, [data-variable='errors']").text
    assert page.errors() == []
