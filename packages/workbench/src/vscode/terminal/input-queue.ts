/**
 * Sends text in the order it was typed: one piece is under way at a time, and what
 * is typed meanwhile goes together as the next one.
 */
export function inputQueue(send: (text: string) => Promise<void>): { push(text: string): void } {
  let waiting = "";
  let isSending = false;
  const drain = async () => {
    isSending = true;
    while (waiting !== "") {
      const text = waiting;
      waiting = "";
      await send(text);
    }
    isSending = false;
  };
  return {
    push(text) {
      waiting += text;
      if (!isSending) void drain();
    },
  };
}
