/** A line of a Markdown page, with its number. */
export interface ProseLine {
  readonly text: string;
  readonly line: number;
}

/** The lines of a page that are not inside a fence. */
export function proseOf(page: readonly string[]): ProseLine[] {
  const prose: ProseLine[] = [];
  let fence: string | undefined;
  for (const [index, text] of page.entries()) {
    const mark = /^\s*(`{3,}|~{3,})/.exec(text)?.[1];
    if (fence === undefined && mark !== undefined) fence = mark;
    else if (fence !== undefined) {
      if (mark?.startsWith(fence) === true && text.trim() === mark) fence = undefined;
    } else prose.push({ text, line: index + 1 });
  }
  return prose;
}
