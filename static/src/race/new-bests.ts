/** New personal bests: the choice of those to show, and their words. */
import { isolated, outputText } from '../format'
import { minutes } from './clock'

export interface Best {
  racerId: number
  second: number
  output: number
}

export interface ShownBest extends Best {
  /** Whether it is the class record at that second, too. */
  isRecord: boolean
}

/** Returns the `most` important ones: class records first, otherwise in the given order. */
export function worthShowing(
  bests: readonly Best[],
  recordAt: (second: number) => number | null,
  most: number,
): ShownBest[] {
  const shown = bests.map((best) => ({
    ...best,
    isRecord: best.output > (recordAt(best.second) ?? -1),
  }))
  // Several may beat the old record; only the highest holds it now.
  for (const best of shown) {
    best.isRecord &&= shown.every((o) => o.second !== best.second || o.output <= best.output)
  }
  return shown.sort((a, b) => Number(b.isRecord) - Number(a.isRecord)).slice(0, most)
}

/** Returns the words before a racer's name. */
export function headline({ second, isRecord }: ShownBest): string {
  return `New ${isRecord ? 'class record' : 'best'} at ${minutes(second)}`
}

export function sentence(best: ShownBest, nameOf: (racerId: number) => string): string {
  return `${headline(best)}: ${isolated(nameOf(best.racerId))}, ${outputText(best.output)}`
}
