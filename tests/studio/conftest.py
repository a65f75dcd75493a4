"""One browser for the tests of a module: Playwright keeps an event loop that others would meet."""

import shutil

import pytest

LOCAL = ("file:", "data:", "blob:")


@pytest.fixture(scope="module")
def browser():
    """A real Chromium; skipped where there is none."""
    playwright = pytest.importorskip("playwright.sync_api")
    found = next(
        filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None
    )
    if found is None:
        pytest.skip("needs Chromium (Debian: apt-get install chromium)")
    quiet = ["quic", "component-update", "sync", "background-networking", "gpu"]
    with playwright.sync_playwright() as running:
        chromium = running.chromium.launch(
            executable_path=found, args=["--no-sandbox", *(f"--disable-{name}" for name in quiet)]
        )
        yield chromium
        chromium.close()


@pytest.fixture
def opened(browser):
    """Open a page; it may say nothing on the console, raise nothing, ask for nothing."""
    contexts, troubles = [], []

    def opening(path, **settings):
        contexts.append(
            browser.new_context(**{"viewport": {"width": 1100, "height": 800}} | settings)
        )
        page = contexts[-1].new_page()
        page.set_default_timeout(300_000)  # a busy machine is no failure
        page.on("pageerror", lambda error: troubles.append(str(error)))
        page.on("console", lambda message: troubles.append(message.text))
        page.on("request", lambda asked: asked.url.startswith(LOCAL) or troubles.append(asked.url))
        page.goto(str(path) if "#" in str(path) else path.as_uri())
        page.wait_for_selector("body.ready")
        return page

    yield opening
    for context in contexts:
        context.close()
    assert not troubles
