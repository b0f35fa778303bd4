"""Download: a release, or why it cannot be had, in `resources/<dataset>`; `fetch` is the way in."""
