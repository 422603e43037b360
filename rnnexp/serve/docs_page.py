"""The page `/docs`: the paths of the server from its OpenAPI description, and a form to try the model.

It is complete in itself: the usual page of OpenAPI loads its script from another server.
"""

import html
import json
from collections.abc import Mapping
from typing import Any


def render(api: Mapping[str, Any]) -> str:
    """Returns the page for an OpenAPI description."""
    title = html.escape(api["info"]["title"])
    paths = "".join(
        f"<tr><td><code>{method.upper()} {html.escape(path)}</code><td>{html.escape(operation.get('description', ''))}"
        f"<td>{', '.join(operation['responses'])}"
        for path, operations in api["paths"].items()
        for method, operation in operations.items()
    )
    example = html.escape(json.dumps({"texts": ["This is a good movie", "This is not a good movie"]}))
    return _PAGE.format(title=title, paths=paths, example=example)


_PAGE = """<!doctype html>
<html lang=en><meta charset=utf-8><title>{title}</title>
<meta name=viewport content="width=device-width, initial-scale=1">
<style>
:root {{ color-scheme: light dark; }}
body {{ font: 16px/1.5 system-ui, sans-serif; max-width: 50rem; margin: 2rem auto; padding: 0 1rem; }}
table {{ border-collapse: collapse; }}
td, th {{ border-bottom: 1px solid #8888; padding: .4rem .75rem .4rem 0; text-align: left; vertical-align: top; }}
pre, textarea {{ width: 100%; box-sizing: border-box; background: #8882; padding: .75rem; overflow-x: auto; }}
textarea, input {{ font: inherit; }}
</style>
<h1>{title}</h1>
<p>A model that labels texts. The description for programs is <a href="openapi.json">openapi.json</a>.</p>
<table><tr><th>request<th>answer<th>status{paths}</table>
<h2>From a shell</h2>
<pre>curl http://HOST:PORT/predict -H 'Content-Type: application/json' \\
  -d '{example}'</pre>
<p>If the server has a token, add <code>-H 'Authorization: Bearer TOKEN'</code>.</p>
<h2>Try it</h2>
<form id=try>
<p><label>One text per line<textarea id=texts rows=4>This is a good movie</textarea></label></p>
<p><label>Token, if the server has one <input id=token type=password autocomplete=off></label></p>
<p><button>Label</button></p>
</form>
<pre id=answer aria-live=polite></pre>
<script>
document.getElementById("try").addEventListener("submit", async (event) => {{
  event.preventDefault();
  const texts = document.getElementById("texts").value.split("\\n").filter((line) => line.trim());
  const token = document.getElementById("token").value;
  const headers = {{"Content-Type": "application/json"}};
  if (token) headers.Authorization = "Bearer " + token;
  const answer = await fetch("predict", {{method: "POST", headers, body: JSON.stringify({{texts}})}});
  document.getElementById("answer").textContent = JSON.stringify(await answer.json(), null, 1);
}});
</script>
</html>
"""
