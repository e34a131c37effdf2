"""Opens pages in headless Chromium and tries what a reader does: check.py CHROMIUM USUAL CHECKS MANY HOSTILE

Prints one line per thing tried; exits with 1 when one failed.
"""

import sys
import time

from devtools import Browser

BIG_OPENS_IN = 3.0
FILTER_TAKES = 0.5
failed = []


def tried(what, ok, shown=""):
    print(f"{'ok  ' if ok else 'FAIL'} {what} {shown}".rstrip())
    if not ok:
        failed.append(what)


def shown(browser):
    """How many findings the list says it shows, and how many rows there are."""
    return browser.run("[document.getElementById('shown').textContent, document.querySelectorAll('#list > li').length]")


def quiet(browser, what):
    complaints = browser.complaints()
    tried(f"{what}: no complaint, nothing loaded", not complaints, "; ".join(complaints))


def fits(browser, what):
    over = browser.run("document.documentElement.scrollWidth - innerWidth")
    tried(f"{what}: no sideways scrolling", over <= 0, f"{over} px")


def looks(browser, page, what):
    """Every width and colour scheme: complaints, width, contrast of what is drawn."""
    for scheme in ("light", "dark"):
        browser.scheme(scheme)
        for name, width, height, phone in (("desk", 1280, 900, False), ("phone", 390, 844, True)):
            browser.size(width, height, phone)
            browser.open(page)
            fits(browser, f"{what}, {scheme}, {name}")
            quiet(browser, f"{what}, {scheme}, {name}")
    browser.size(1280, 900)
    browser.scheme("light")


# WCAG 2.1, 1.4.3: contrast of each text with what is behind it.
CONTRAST = """(() => {
  const value = (c) => { const s = c / 255; return s <= 0.03928 ? s / 12.92 : ((s + 0.055) / 1.055) ** 2.4; };
  const parse = (text) => { const n = text.match(/[\\d.]+/g).map(Number); return n.length < 4 ? [...n, 1] : n; };
  const light = ([r, g, b]) => 0.2126 * value(r) + 0.7152 * value(g) + 0.0722 * value(b);
  const behind = (node) => {
    for (let at = node; at; at = at.parentElement) {
      const colour = parse(getComputedStyle(at).backgroundColor);
      if (colour[3] === 1) return colour;
    }
    return [255, 255, 255];
  };
  const low = new Set();
  for (const node of document.querySelectorAll('main *, header *')) {
    if (node.closest('svg, .u-wrap, [disabled], option') || !node.offsetParent) continue;
    if (![...node.childNodes].some((child) => child.nodeType === 3 && child.textContent.trim())) continue;
    const [a, b] = [light(parse(getComputedStyle(node).color)), light(behind(node))].sort((x, y) => y - x);
    const ratio = (a + 0.05) / (b + 0.05);
    if (ratio < 4.5) low.add(`${node.tagName}.${node.className} ${ratio.toFixed(2)}`);
  }
  return [...low];
})()"""


def usual(browser, page):
    looks(browser, page, "demo")
    for scheme in ("light", "dark"):
        browser.scheme(scheme)
        browser.open(page)
        low = browser.run(CONTRAST)
        tried(f"demo, {scheme}: texts have a contrast of 4.5", not low, ", ".join(low))
    browser.scheme("light")
    browser.open(page)
    tried("the answer is the first heading", browser.run("document.querySelector('h1').textContent") ==
          "12 of 411 requests failed: 11 keepalive-race, 1 response-timeout")
    tried("all findings are listed", shown(browser) == ["13 findings", 13], str(shown(browser)))
    tried("each cause has the packets of its typical case", browser.run("document.querySelectorAll('.card svg.ladder-drawing').length") == 3)
    tried("the chart is drawn", browser.run("document.querySelectorAll('#timeline canvas').length") == 1)

    browser.run("const f = document.getElementById('f-group'); f.value = '0'; f.dispatchEvent(new Event('change'))")
    tried("a cause filters", shown(browser) == ["11 of 13 findings", 11], str(shown(browser)))
    tried("the address says so", browser.run("location.hash") == "#group=0")
    browser.key("Escape")
    tried("Escape clears", shown(browser) == ["13 findings", 13])

    browser.key("/")
    for letter in "/API/report":
        browser.key(letter)
    time.sleep(0.3)
    tried("/ goes to the search, which ignores case", shown(browser) == ["1 of 13 findings", 1], str(shown(browser)))
    browser.key("Escape")
    browser.key("j")
    browser.key("j")
    browser.key("Enter")
    time.sleep(0.2)
    opened = browser.run("[document.querySelectorAll('#list details[open]').length, document.querySelector('#list details[open]').dataset.finding,"
                         " document.querySelector('#list details[open] svg').getAttribute('aria-label')]")
    tried("j, j and Enter open the second finding", opened[:2] == [1, "1"], str(opened))
    tried("its ladder names both sides", "192.0.2.10" in opened[2] and "198.51.100.20:8080" in opened[2], opened[2])
    guilty = browser.run("[...document.querySelectorAll('#list svg .guilty text')].map((one) => one.textContent)")
    tried("one packet is guilty, with its frame", any("FIN" in one for one in guilty) and "guilty" in guilty, str(guilty))
    browser.key("Enter")
    tried("Enter closes it", browser.run("document.querySelectorAll('#list details[open]').length") == 0)

    browser.run("document.getElementById('timeline').scrollIntoView({ behavior: 'instant' })")
    box = browser.run("(() => { const b = document.querySelector('.u-over').getBoundingClientRect(); return [b.left, b.top, b.width, b.height]; })()")
    y = box[1] + box[3] / 2
    browser.mouse("mousePressed", box[0] + box[2] * 0.1, y, button="left", clickCount=1)
    browser.mouse("mouseMoved", box[0] + box[2] * 0.2, y, button="left")
    browser.mouse("mouseMoved", box[0] + box[2] * 0.3, y, button="left")
    browser.mouse("mouseReleased", box[0] + box[2] * 0.3, y, button="left", clickCount=1)
    time.sleep(0.3)
    tried("dragging over the chart filters by time", shown(browser)[0].startswith("4 of 13 findings, between 10:34:"), str(shown(browser)))
    browser.run("document.getElementById('timeline').focus()")
    browser.key("0")
    tried("0 shows everything again", shown(browser)[0] == "13 findings", str(shown(browser)))
    browser.key("+")
    tried("+ looks closer", "between" in shown(browser)[0])
    browser.run("document.getElementById('everything').click()")

    before = browser.run("getComputedStyle(document.body).backgroundColor")
    browser.run("document.getElementById('theme').click()")
    after = browser.run("getComputedStyle(document.body).backgroundColor")
    tried("the theme changes", before != after, f"{before} {after}")
    browser.run("document.getElementById('theme').click()")
    quiet(browser, "after all that")
    printed = browser.call("Page.printToPDF", printBackground=True)["data"]
    tried("it prints", len(printed) > 50_000, f"{len(printed) * 3 // 4} bytes of PDF")


def checks(browser, page):
    looks(browser, page, "health checks")
    browser.open(page)
    tried("a strip on the chart's axis and one at the target", browser.run("document.querySelectorAll('svg.strip-drawing').length") == 2)
    ticks = browser.run("[document.querySelectorAll('#strips .tick.pass').length, document.querySelectorAll('#strips .tick.fail').length]")
    tried("passed and failed checks are ticks", ticks[0] >= 8 and ticks[1] == 16, str(ticks))
    browser.run("document.querySelector('details.checks').open = true")
    time.sleep(0.2)
    rows = browser.run("document.querySelectorAll('.check-table tbody tr').length")
    tried("every check is in the table", rows == 25, str(rows))
    quiet(browser, "health checks")


def many(browser, page):
    seconds = min(browser.open(page) for _ in range(3))
    all_, rows = shown(browser)
    tried(f"{all_} open in under {BIG_OPENS_IN} s", seconds < BIG_OPENS_IN, f"{seconds:.2f} s")
    tried("one page of rows exists", rows == 50)
    took = browser.run("(() => { const start = performance.now(); const f = document.getElementById('f-text'); f.value = '/item/77';"
                       " readFields(); applyFilter(); return performance.now() - start; })()") / 1000
    tried("a search answers at once", took < FILTER_TAKES, f"{took * 1000:.0f} ms")
    found = shown(browser)[0]
    tried("it finds some of them", " of " in found, found)
    browser.key("Escape")
    browser.key("]")
    tried("] turns the page", browser.run("document.getElementById('list').getAttribute('start')") == "51")
    browser.run("document.querySelector('#list summary').click()")
    time.sleep(0.2)
    tried("a finding opens", browser.run("document.querySelectorAll('#list svg.ladder-drawing').length") == 1)
    heap = browser.run("performance.memory ? performance.memory.usedJSHeapSize : 0")
    tried("memory is bounded", heap < 300_000_000, f"{heap / 1e6:.0f} MB")
    quiet(browser, "many findings")


def hostile(browser, page):
    browser.open(page)
    browser.run("document.querySelectorAll('details').forEach((one) => { one.open = true; })")
    time.sleep(0.5)
    made = browser.run("[document.querySelectorAll('main img, main script, main iframe').length, document.title, typeof window.hurt]")
    tried("texts of the capture stay texts", made[0] == 0 and made[2] == "undefined", str(made))
    tried("they are shown", browser.run("document.body.textContent.includes('<img src=x onerror=window.hurt=1>')"))
    quiet(browser, "hostile texts")


def main():
    program, *pages = sys.argv[1:]
    with Browser(program) as browser:
        for part, page in zip((usual, checks, many, hostile), pages, strict=True):
            browser.size(1280, 900)
            part(browser, page)
    sys.exit(1 if failed else 0)


main()
