"""One lookup with Python's standard library: a token, a call to GitLab's API, and the lease given back.

BROKER, SCANNER_KEY, ORGANIZATION and REPOSITORY are in the environment.
"""

import contextlib
import json
import os
import urllib.error
import urllib.parse
import urllib.request


class NoRedirects(urllib.request.HTTPRedirectHandler):
    """A key or token goes where it was meant to go: urllib would send the header to any other host, too."""

    def redirect_request(self, *args):
        return None


opener = urllib.request.build_opener(NoRedirects)


def ask(method, url, headers):
    request = urllib.request.Request(url, method=method, headers=headers)
    with opener.open(request, timeout=60) as response:
        body = response.read()
        return json.loads(body) if body else None


def broker(method, path):
    try:
        return ask(method, os.environ["BROKER"] + path, {"Authorization": "Bearer " + os.environ["SCANNER_KEY"].strip()})
    except urllib.error.HTTPError as error:
        problem = json.load(error)
        raise SystemExit(f"No token: {problem['code']}. {problem['detail']}") from None


query = urllib.parse.urlencode(
    {
        "url": os.environ["REPOSITORY"],
        "organization": os.environ["ORGANIZATION"],
        "min_ttl": 1800,
        "purpose": "example",
    }
)
credential = broker("GET", f"/v1/credentials?{query}")
try:
    api = credential["api"]
    ask("GET", credential["base_url"] + "/api/v4/projects?membership=true&per_page=1", {api["header"]: api["value"]})
    print(f"The token works until {credential['expires_at'] or 'somebody ends it'}.")
finally:
    # A lease that cannot be given back now ends by itself.
    with contextlib.suppress(SystemExit, OSError):
        broker("DELETE", f"/v1/leases/{credential['lease_id']}")
