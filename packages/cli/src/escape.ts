/**
 * Finds `~.` at the beginning of a line among what is typed, as ssh(1) does; `~~` stands for one `~`.
 * @returns a function that takes the next piece and answers what of it to send, and whether to end.
 */
export function createEscapeFilter(): (piece: string) => { text: string; isEnd: boolean } {
  let state: "line-start" | "tilde" | "text" = "line-start";
  return (piece) => {
    let text = "";
    for (const character of piece) {
      if (state === "tilde") {
        if (character === ".") return { text, isEnd: true };
        // `~~` is one tilde; a tilde before anything else was meant as it is.
        text += character === "~" ? "~" : `~${character}`;
        state = isLineEnd(character) ? "line-start" : "text";
      } else if (state === "line-start" && character === "~") {
        state = "tilde";
      } else {
        text += character;
        state = isLineEnd(character) ? "line-start" : "text";
      }
    }
    return { text, isEnd: false };
  };
}

/** Return, line feed, and Ctrl-C and Ctrl-U, after which a line is empty again. */
function isLineEnd(character: string): boolean {
  return ["\r", "\n", "\x03", "\x15"].includes(character);
}
