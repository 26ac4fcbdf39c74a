"""Whether a person has opened a link, or a machine that looks where it leads. No I/O.

Messengers fetch a link to show a preview, mail servers to look for malice, browsers before it is
tapped. Most say so; one that pretends to be a browser is counted.
"""

import re
from collections.abc import Mapping

_MACHINE = re.compile(
    # Cubot makes phones.
    r"(?<!cu)bot\b|(?<!cu)bot/|crawl|spider|slurp|preview|prefetch|scan|monitor|headless|phantom"
    r"|facebookexternalhit|facebookcatalog|whatsapp|embedly|skype|outlook|ms-office|safelinks"
    r"|barracuda|proofpoint|mimecast|symantec|fortinet|trendmicro|imageproxy|google-read-aloud"
    r"|python|curl|wget|java/|okhttp|go-http|libwww|httpclient|axios|node-fetch",
    re.IGNORECASE,
)
_AHEAD = re.compile("prefetch|prerender|preview", re.IGNORECASE)


def is_person(method: str, headers: Mapping[str, str]) -> bool:
    """Header names are in lower case. Every browser calls itself Mozilla."""
    agent = headers.get("user-agent", "")
    if method != "GET" or "Mozilla/" not in agent or _MACHINE.search(agent[:500]):
        return False
    purposes = (headers.get(name, "") for name in ("purpose", "sec-purpose", "x-purpose", "x-moz"))
    if any(_AHEAD.search(it) for it in purposes):
        return False
    return headers.get("sec-fetch-dest", "document") == "document"
