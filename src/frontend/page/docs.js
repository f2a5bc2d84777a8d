// Shows the document of the interface, which is asked of the front-end that sent this page.

/** Makes an element with attributes and children, which are elements or texts. */
function element(name, attributes = {}, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  made.append(...children.filter((child) => child !== null && child !== undefined));
  return made;
}

/** A text in which `backquotes` stand around what is typed. */
function prose(text) {
  return (text ?? "").split("`").map((part, place) => (place % 2 === 1 ? element("code", {}, part) : part));
}

/** Follows a reference within the document. */
function resolve(whole, value) {
  if (!value || !value.$ref) return value;
  const names = value.$ref.replace(/^#\//, "").split("/");
  return names.reduce((part, name) => part?.[name.replace(/~1/g, "/").replace(/~0/g, "~")], whole);
}

/** Says in a few words what a schema allows. */
function kind(whole, schema) {
  const found = resolve(whole, schema) ?? {};
  const alternatives = found.oneOf ?? found.anyOf;
  if (alternatives) return alternatives.map((one) => kind(whole, one)).join(" or ");
  const limits = [];
  if (found.enum) limits.push(`one of ${found.enum.join(", ")}`);
  if (found.minimum !== undefined) limits.push(`at least ${found.minimum}`);
  if (found.exclusiveMinimum !== undefined) limits.push(`above ${found.exclusiveMinimum}`);
  if (found.maximum !== undefined) limits.push(`at most ${found.maximum}`);
  if (found.minLength !== undefined) limits.push(`${found.minLength} or more characters`);
  if (found.maxLength !== undefined) limits.push(`at most ${found.maxLength} characters`);
  const type = [found.type ?? "any value"].flat().join(" or ");
  return limits.length > 0 ? `${type}: ${limits.join(", ")}` : type;
}

/** The fields of an object's schema, those of its parts with the parts' names before them. */
function fields(whole, schema, prefix = "", depth = 0) {
  const found = resolve(whole, schema);
  if (!found || depth > 5) return [];
  if (found.type === "array") return fields(whole, found.items, `${prefix}[]`, depth + 1);
  return Object.entries(found.properties ?? {}).flatMap(([name, part]) => {
    const path = prefix === "" ? name : `${prefix}.${name}`;
    const own = resolve(whole, part);
    const description = part.description ?? own?.description ?? "";
    return [[path, kind(whole, part), prose(description)], ...fields(whole, part, path, depth + 1)];
  });
}

/** A table with a heading for each row. Without rows there is none. */
function table(caption, rows) {
  if (rows.length === 0) return null;
  const lines = rows.map(([head, ...cells]) =>
    element("tr", {}, element("th", { scope: "row" }, head), ...cells.map((cell) => element("td", {}, ...[cell].flat()))));
  const body = element("table", {}, element("caption", {}, caption), element("tbody", {}, ...lines));
  return element("div", { class: "scroll", tabindex: "0", role: "group", "aria-label": caption }, body);
}

function example(media) {
  const value = media?.example;
  return value === undefined ? null : element("pre", {}, JSON.stringify(value, null, 1));
}

function parameters(whole, operation) {
  const known = (operation.parameters ?? []).map((one) => resolve(whole, one));
  return known.map((one) => [
    one.name,
    `${one.in}${one.required ? ", required" : ""}; ${kind(whole, one.schema)}`,
    prose(one.description),
  ]);
}

function answers(whole, operation) {
  return Object.entries(operation.responses ?? {}).map(([code, response]) => {
    const answer = resolve(whole, response);
    const headers = Object.keys(answer.headers ?? {}).join(", ");
    const media = Object.entries(answer.content ?? {});
    const kinds = media.map(([type]) => type).join(", ");
    return [code, [...prose(answer.description), ...media.map(([, one]) => example(one)).filter(Boolean)], kinds, headers];
  });
}

function show(whole, path, method, operation) {
  const body = operation.requestBody?.content?.["application/json"];
  const answer = operation.responses?.["200"];
  const media = resolve(whole, answer)?.content?.["application/json"];
  const name = `${method.toUpperCase()} ${path}`;
  return element(
    "section",
    { class: "operation", id: operation.operationId, "aria-label": name },
    element("h3", {}, element("span", { class: "method", "data-method": method }, method.toUpperCase()), ` ${path}`),
    element("p", {}, ...prose([operation.summary, operation.description].filter(Boolean).join(" "))),
    table("What is sent", parameters(whole, operation)),
    body ? table("Its body", fields(whole, body.schema)) : null,
    body ? example(body) : null,
    media ? table("What comes back", fields(whole, media.schema)) : null,
    table("Answers: status, meaning, type, headers", answers(whole, operation)),
  );
}

function render(whole) {
  const paragraphs = (whole.info.description ?? "").split("\n\n").map((text) => element("p", {}, ...prose(text)));
  document.getElementById("introduction").replaceChildren(...paragraphs);
  const contents = document.getElementById("contents");
  const operations = document.getElementById("operations");
  for (const tag of whole.tags ?? []) {
    const shown = Object.entries(whole.paths).flatMap(([path, methods]) =>
      Object.entries(methods)
        // HEAD and OPTIONS are the same for all paths; the document has them.
        .filter(([method, operation]) => ["get", "post"].includes(method) && operation.tags?.includes(tag.name))
        .map(([method, operation]) => [path, method, operation]));
    if (shown.length === 0) continue;
    operations.append(element("h2", {}, tag.name), element("p", {}, tag.description ?? ""));
    for (const [path, method, operation] of shown) {
      operations.append(show(whole, path, method, operation));
      const link = element("a", { href: `#${operation.operationId}` }, `${method.toUpperCase()} ${path}`);
      contents.append(element("li", {}, link));
    }
  }
  // The section that the address names was not there when the page was loaded.
  document.getElementById(decodeURIComponent(location.hash.slice(1)))?.scrollIntoView();
}

try {
  const answer = await fetch("/openapi.json");
  if (!answer.ok) throw new Error(`the front-end answered ${answer.status}`);
  render(await answer.json());
} catch (error) {
  const problem = document.getElementById("problem");
  problem.textContent = `The document cannot be shown: ${error.message}. Load the page again in a moment.`;
  problem.hidden = false;
}
