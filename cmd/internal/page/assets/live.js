// A page stays current while it is watched: its own URL, asked for as an event stream,
// sends what has changed as HTML that the server has escaped. Without this script the
// page is a still picture, and everything on it works.
"use strict";

(() => {
  const status = document.getElementById("live");
  const statusText = document.getElementById("live-text");
  // The server says something at each beat, if only that there is nothing new. Who hears
  // nothing for longer watches what may be gone: a connection can end without a word.
  const patience = 2.5 * Number(status.dataset.beat || 15000);
  let source, retry, silence;
  let heardAt = new Date();

  const say = (state, text) => {
    status.dataset.state = state;
    if (statusText.textContent !== text) statusText.textContent = text;
  };

  const parse = (html) => {
    const holder = document.createElement("template");
    holder.innerHTML = html;
    return holder.content;
  };

  // keeping does work and gives the focus back to what it was on, though that is
  // another element now.
  const keeping = (work) => {
    const active = document.activeElement;
    const mark = active && active !== document.body && (active.id ? "#" + CSS.escape(active.id) : active.dataset.focus ? `[data-focus="${CSS.escape(active.dataset.focus)}"]` : null);
    const open = [...document.querySelectorAll("details[open][id]")].map((d) => d.id);
    work();
    for (const id of open) document.getElementById(id)?.setAttribute("open", "");
    if (mark && !document.contains(active)) document.querySelector(mark)?.focus({ preventScroll: true });
  };

  const apply = (message) => keeping(() => {
    for (const [id, html] of Object.entries(message.parts ?? {})) {
      document.getElementById(id)?.replaceChildren(parse(html));
    }
    const fresh = new Map(Object.entries(message.items ?? {}));
    for (const [name, ids] of Object.entries(message.lists ?? {})) {
      const list = document.getElementById(name);
      if (!list) continue;
      const have = new Map([...list.children].map((child) => [child.id, child]));
      const children = ids.map((id) => (fresh.has(id) ? parse(fresh.get(id)).firstElementChild : have.get(id)));
      list.replaceChildren(...children.filter(Boolean));
      for (const id of ids) fresh.delete(id);
    }
    for (const [id, html] of fresh) {
      document.getElementById(id)?.replaceWith(parse(html));
    }
    tellTimes();
  });

  const lose = () => say("lost", `lost since ${heardAt.toTimeString().slice(0, 8)}`);
  const leave = () => {
    clearTimeout(retry);
    clearTimeout(silence);
    source?.close();
  };
  const expect = () => {
    clearTimeout(silence);
    silence = setTimeout(() => {
      lose();
      watch();
    }, patience);
  };
  const hear = () => {
    heardAt = new Date();
    say("live", "live");
    expect();
  };

  const watch = () => {
    leave();
    source = new EventSource(location.pathname + location.search);
    source.addEventListener("beat", hear);
    source.onmessage = (event) => {
      hear();
      apply(JSON.parse(event.data));
    };
    source.onerror = () => {
      lose();
      if (source.readyState !== EventSource.CLOSED) return; // it connects again by itself
      // Refused: too many watch, or we may no longer.
      clearTimeout(silence);
      retry = setTimeout(watch, 15000);
    };
    expect();
  };

  const units = [[86400, "d"], [3600, "h"], [60, "min"], [1, "s"]];
  const span = (seconds) => {
    const at = units.findIndex(([length]) => seconds >= length);
    if (at < 0) return "0 s";
    const [length, unit] = units[at];
    const whole = Math.floor(seconds / length);
    if (at === units.length - 1 || whole >= 10) return `${whole} ${unit}`;
    const [smaller, lesser] = units[at + 1];
    const rest = Math.floor((seconds % length) / smaller);
    return rest ? `${whole} ${unit} ${rest} ${lesser}` : `${whole} ${unit}`;
  };
  const tellTimes = () => {
    const now = Date.now();
    for (const time of document.querySelectorAll("time")) {
      const since = (now - Date.parse(time.dateTime)) / 1000;
      let text;
      if ("until" in time.dataset && since < 0) text = `in ${span(-since)}`;
      else if ("lasting" in time.dataset) text = `for ${span(Math.max(since, 0))}`;
      else text = `${span(Math.max(since, 0))} ago`;
      if (time.textContent !== text) time.textContent = text;
      const word = time.previousElementSibling;
      if (word && "ends" in word.dataset) word.textContent = since < 0 ? "ends" : "ended";
    }
  };

  // The form asks for another list without leaving the page.
  const form = document.querySelector("form[data-filter]");
  let typing;
  const ask = () => {
    clearTimeout(typing);
    const query = new URLSearchParams();
    for (const [name, value] of new FormData(form)) if (value) query.append(name, value);
    const url = location.pathname + (query.size ? "?" + query : "");
    if (url === location.pathname + location.search) return;
    history.replaceState(null, "", url);
    watch();
  };
  form?.addEventListener("submit", (event) => {
    event.preventDefault();
    ask();
  });
  form?.addEventListener("input", () => {
    clearTimeout(typing);
    typing = setTimeout(ask, 250);
  });

  document.addEventListener("keydown", (event) => {
    const search = document.querySelector("input[type=search]");
    if (event.key !== "/" || event.ctrlKey || event.metaKey || event.altKey || !search) return;
    if (event.target.closest("input, select, textarea")) return;
    event.preventDefault();
    search.focus();
    search.select();
  });

  document.addEventListener("click", async (event) => {
    const button = event.target.closest("button[data-copy]");
    if (!button) return;
    try {
      await navigator.clipboard.writeText(document.getElementById(button.dataset.copy).textContent);
      button.textContent = "Copied";
    } catch {
      button.textContent = "Select it and copy";
    }
    setTimeout(() => { button.textContent = "Copy"; }, 2000);
  });

  document.documentElement.classList.add("js");
  tellTimes();
  setInterval(tellTimes, 1000);
  // A tab that nobody looks at asks for nothing.
  const look = () => {
    if (document.hidden) {
      leave();
      say("lost", "paused");
    } else {
      say("", "connecting");
      watch();
    }
  };
  document.addEventListener("visibilitychange", look);
  look();
})();
