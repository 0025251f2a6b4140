"""A page in a real browser, for the tests of cards."""

from collections.abc import Iterator

import pytest

from tests.support.chromium import Page, browse


@pytest.fixture(scope="module")
def page() -> Iterator[Page]:
    with browse() as opened:
        yield opened


@pytest.fixture
def quiet(page: Page) -> Iterator[Page]:
    """A page that must neither complain nor ask for anything but files."""
    page.requests(), page.log("browser")
    yield page
    assert page.log("browser") == []
    assert [url for url in page.requests() if not url.startswith(("data:", "chrome:", "file:"))] == []
