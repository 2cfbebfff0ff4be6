/** Enough of a parser to tell that a page is well-formed, which elements it has, and what is written in it. */

/** An element of a page. */
interface PageElement {
  readonly name: string;
  readonly attributes: ReadonlyMap<string, string>;
}

/** What {@link readPage} found. Texts are as a reader sees them. */
export interface Page {
  readonly elements: readonly PageElement[];
  readonly texts: readonly string[];
}

const attribute = /\s+([a-z][\w:-]*)="([^"<]*)"/giy;
const reference = /&(?:#(\d+)|amp|lt|gt|quot);/g;

/** Reads a page that is written as XML is. Throws where it is not well-formed. */
export function readPage(html: string): Page {
  const prefix = "<!doctype html>\n";
  if (!html.startsWith(prefix)) throw new Error("no doctype");
  const elements: PageElement[] = [];
  const texts: string[] = [];
  const open: string[] = [];
  for (const [whole, tag] of html.slice(prefix.length).matchAll(/<([^<>]*)>|[^<]+|</g)) {
    if (tag === undefined) {
      if (whole === "<") throw new Error("a stray <");
      if (open.at(-1) === "style" || whole.trim() === "") continue;
      texts.push(decoded(whole));
    } else if (tag.startsWith("/")) {
      const last = open.pop();
      if (last !== tag.slice(1)) throw new Error(`</${tag.slice(1)}> closes <${last}>`);
    } else {
      const isEmpty = tag.endsWith("/");
      const name = /^[a-z][a-z\d]*/.exec(tag)?.[0];
      if (name === undefined) throw new Error(`a tag without a name: <${tag}>`);
      elements.push({
        name,
        attributes: attributesOf(tag.slice(name.length, isEmpty ? -1 : undefined)),
      });
      if (!isEmpty) open.push(name);
    }
  }
  if (open.length > 0) throw new Error(`left open: ${open.join(", ")}`);
  return { elements, texts };
}

function attributesOf(written: string): Map<string, string> {
  const attributes = new Map<string, string>();
  let at = 0;
  while (at < written.length) {
    attribute.lastIndex = at;
    const match = attribute.exec(written);
    if (match === null) throw new Error(`no attribute: ${written.slice(at)}`);
    const [whole, name = "", value = ""] = match;
    if (attributes.has(name)) throw new Error(`${name} is given twice`);
    attributes.set(name, decoded(value));
    at += whole.length;
  }
  return attributes;
}

function decoded(text: string): string {
  const rest = text.replaceAll(reference, "");
  if (rest.includes("&")) throw new Error(`a stray &: ${text}`);
  const named: Readonly<Record<string, string>> = { "&amp;": "&", "&lt;": "<", "&gt;": ">" };
  return text.replaceAll(reference, (whole, code: string | undefined) =>
    code === undefined ? (named[whole] ?? '"') : String.fromCodePoint(Number(code)),
  );
}
