"""Texts of payments: descriptions and metadata as merchants write them, and worse."""

from __future__ import annotations

from tidegate.sandbox import templates

DESCRIPTIONS = tuple(
    map(
        templates.escaped,
        (
            "null",
            "null",
            '"Subscription creation"',
            '"Subscription update"',
            '"Subscription update"',
            '"Invoice payment"',
            '"100% cotton T-shirt, size \\"L\\""',
            '"Größe 42, Farbe: weiß / schwarz"',
            '"書籍（送料無料）"',
            '"C:\\\\orders\\\\2026"',
            '"Gift card 🎁"',
            '"null"',
            '""',
            '"Donation"',
            templates.quote(templates.LONG),
            '"line one\\nline two"',
        ),
    )
)
METADATA = tuple(
    map(
        templates.escaped,
        (
            *("{}",) * 8,
            '{"order_id":"%d"}',
            '{"order_id":"%d"}',
            '{"order_id":"%d","channel":"web"}',
            '{"cart":"[{\\"sku\\":\\"A-1\\",\\"n\\":%d}]"}',
            '{"big":"9007199254740993%d","empty":""}',
            '{"note":"He said \\"100%% off\\" \\\\ then left","n":"%d"}',
            '{"größe":"%d","日本語":"はい"}',
            '{"order_id":"%d","a":"1","b":"2","c":"3","d":"4"}',
        ),
    )
)
assert all("%" in text for text in METADATA[8:]), "Metadata beyond the empty ones has one hole."
