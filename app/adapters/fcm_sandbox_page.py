"""The page on which a developer sees pushes arrive; nothing is loaded from elsewhere."""

PAGE = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Pushes</title>
<style>
  body { font: 16px/1.5 system-ui, sans-serif; max-width: 40rem; margin: 2rem auto;
         padding: 0 1rem; background: #f2f3f5; color: #1c1e21; }
  h1 { font-size: 1.25rem; }
  #state { color: #65686c; }
  li { list-style: none; background: #fff; border-radius: 12px; padding: .75rem 1rem;
       margin: .6rem 0; box-shadow: 0 1px 3px #0002; }
  ul { padding: 0; }
  b { display: block; }
  small { color: #65686c; overflow-wrap: anywhere; }
</style>
</head>
<body>
<h1>Pushes</h1>
<p id="state" role="status">Waiting for the first push.</p>
<ul id="pushes" aria-live="polite"></ul>
<script>
  const SHOWN = 200;
  const list = document.getElementById("pushes"), state = document.getElementById("state");
  let last = 0;
  function line(parent, tag, text) {
    const element = document.createElement(tag);
    element.textContent = text;
    parent.append(element);
  }
  function show(push) {
    const item = document.createElement("li");
    line(item, "b", push.title ?? "");
    line(item, "div", push.body ?? "");
    const at = new Date(push.at * 1000).toLocaleTimeString();
    line(item, "small", `${at} · to ${push.token} · ${JSON.stringify(push.data)}`);
    list.prepend(item);
    while (list.children.length > SHOWN) list.lastChild.remove();
  }
  async function poll() {
    try {
      const answer = await fetch("messages?after=" + last);
      for (const push of await answer.json()) { show(push); last = push.number; }
      state.textContent = last ? `${last} accepted` : "Waiting for the first push.";
    } catch {
      state.textContent = "The sandbox is not running.";
      last = 0;  // a new run numbers from one
      list.replaceChildren();
    }
    setTimeout(poll, 700);
  }
  poll();
</script>
</body>
</html>
"""
