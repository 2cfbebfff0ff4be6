/** Enough of XML 1.0 to tell that a picture is well-formed, and what is written in it. */
import assert from "node:assert/strict";

const entity = /&(?:amp|lt|gt|quot|apos|#\d+|#x[0-9a-f]+);/gi;
const attribute = /\s+([A-Za-z_][\w:.-]*)="([^"<]*)"/y;

/** The texts of a document, in order. Throws where it is not well-formed: no comments, no declarations, one root. */
export function textsOf(xml: string): string[] {
  const open: string[] = [];
  const texts: string[] = [];
  let roots = 0;
  for (const [, tag, text] of xml.matchAll(/<([^<>]*)>|([^<]+|<)/g)) {
    if (tag === undefined) {
      checkText(text ?? "");
      const content = (text ?? "").trim();
      assert(content === "" || open.length > 0, `text outside of the root: ${content}`);
      if (content !== "") texts.push(content);
      continue;
    }
    if (tag.startsWith("/")) {
      assert.equal(open.pop(), tag.slice(1).trimEnd(), "tags close in turn");
      continue;
    }
    const isEmpty = tag.endsWith("/");
    const name = /^[A-Za-z_][\w:.-]*/.exec(tag)?.[0] ?? "";
    checkAttributes(tag.slice(name.length, isEmpty ? -1 : undefined), name);
    if (open.length === 0) roots++;
    if (!isEmpty) open.push(name);
  }
  assert.deepEqual(open, [], "every tag is closed");
  assert.equal(roots, 1, "there is one root");
  return texts;
}

function checkAttributes(written: string, tag: string): void {
  assert.notEqual(tag, "", `a tag has a name: <${written}>`);
  const names = new Set<string>();
  let at = 0;
  while (written.slice(at).trim() !== "") {
    attribute.lastIndex = at;
    const [whole, name = "", value = ""] = attribute.exec(written) ?? [];
    assert(whole !== undefined, `attributes of <${tag}>: ${written.slice(at)}`);
    assert(!names.has(name), `<${tag}> has ${name} twice`);
    names.add(name);
    checkText(value);
    at += whole.length;
  }
}

function checkText(text: string): void {
  assert(!/[<&]/.test(text.replaceAll(entity, "")), `escaped text: ${text}`);
}
