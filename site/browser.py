"""One headless Chromium for drawing the diagrams and for the tests: whichever of Debian's,
Ubuntu's or Google's build is installed"""

import shutil
from contextlib import contextmanager


def chromium():
    return next(
        filter(
            None,
            map(
                shutil.which,
                ('chromium', 'chromium-browser', 'google-chrome', 'google-chrome-stable'),
            ),
        ),
        None,
    )


@contextmanager
def browser():
    from playwright.sync_api import sync_playwright

    with sync_playwright() as p:
        b = p.chromium.launch(
            executable_path=chromium(),
            args=[
                '--disable-background-networking',
                '--disable-component-update',
                '--disable-sync',
                '--no-first-run',
                '--disable-features=BackForwardCache',  # it would keep pages left behind
            ],
        )
        try:
            yield b
        finally:
            b.close()
