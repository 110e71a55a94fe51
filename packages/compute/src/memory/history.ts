import { BlockSet } from "../block-set.ts";
import type { CopiedMemory, CopyRequest } from "./copier.ts";

/**
 * What copies of a machine's memory have to hold so that nothing is lost: the kernel forgets a page's mark when it is
 * copied, and only who kept the copy may forget it too.
 */
export class CopyHistory {
  /** Nothing is known of what was copied before, by another process or by a copy that failed. */
  #isUnknown = true;
  /** Copies that nobody has confirmed, in the order in which they were taken. */
  #unconfirmed: { number: number; blocks: BlockSet; isComplete: boolean }[] = [];

  /** What the next copy must hold. Until {@link taken} says how it went, its marks count as lost. */
  begin(isCompleteWanted: boolean): Pick<CopyRequest, "isComplete" | "also"> & { isAllNew: boolean } {
    const isAllNew = this.#isUnknown;
    this.#isUnknown = true;
    if (isAllNew || isCompleteWanted) return { isComplete: true, isAllNew };
    const [first, ...rest] = this.#unconfirmed;
    if (!first) return { isComplete: false, isAllNew };
    const also = new BlockSet(first.blocks.size);
    for (const { blocks } of [first, ...rest]) also.addAll(blocks);
    return { isComplete: false, also, isAllNew };
  }

  /**
   * A copy succeeded; it holds all that unconfirmed ones before it held.
   * @param isAllNew as {@link begin} said: whether all of it counts as new, rather than only what carried a mark.
   */
  taken(number: number, copy: CopiedMemory, isAllNew: boolean): void {
    this.#isUnknown = false;
    const blocks = isAllNew ? copy.blocks : copy.unmarked;
    this.#unconfirmed.push({ number, blocks, isComplete: isAllNew });
  }

  /** Whether a copy that is not complete by itself holds a complete one that nobody confirmed. */
  get holdsComplete(): boolean {
    return this.#unconfirmed.some(({ isComplete }) => isComplete);
  }

  /** That copy is kept, and with it all that earlier ones held. */
  confirmed(number: number): void {
    this.#unconfirmed = this.#unconfirmed.filter((copy) => copy.number > number);
  }
}
