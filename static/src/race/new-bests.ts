/** New personal bests: the choice of those to show, and their words. */
import { isolated, outputText } from '../format'
import { minutes } from './clock'
import type { Effort } from './dataset'

export interface Best extends Effort {
  second: number
}

export interface ShownBest extends Best {
  /** Whether it is the class record at that second, too. */
  isClassRecord: boolean
}

/** Returns the `most` important ones: class records first, otherwise in the given order. */
export function worthShowing(
  bests: readonly Best[],
  classRecordAt: (second: number) => Effort | null,
  most: number,
): ShownBest[] {
  const shown = bests.map((best) => ({
    ...best,
    isClassRecord: holdsClassRecord(best, classRecordAt),
  }))
  // Several may beat the old record; only the highest holds it now.
  for (const best of shown) {
    best.isClassRecord &&= shown.every((o) => o.second !== best.second || o.output <= best.output)
  }
  return shown.sort((a, b) => Number(b.isClassRecord) - Number(a.isClassRecord)).slice(0, most)
}

/** Returns whether a best beats the class record, or is it: a record may be loaded before its event arrives. */
function holdsClassRecord(best: Best, classRecordAt: (second: number) => Effort | null): boolean {
  const record = classRecordAt(best.second)
  if (!record || best.output > record.output) return true
  return best.output === record.output && best.racerId === record.racerId
}

/** Returns the words before a racer's name. */
export function headline({ second, isClassRecord }: ShownBest): string {
  return `New ${isClassRecord ? 'class record' : 'best'} at ${minutes(second)}`
}

export function sentence(best: ShownBest, nameOf: (racerId: number) => string): string {
  return `${headline(best)}: ${isolated(nameOf(best.racerId))}, ${outputText(best.output)}`
}
