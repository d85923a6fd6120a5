"""What the tests in a browser share."""

from support.browser import browser

__all__ = ["browser"]
