/** New personal bests, as the service pushes them: which to show, and what to say of them. */
import { outputText } from '../format'

export interface Best {
  racerId: number
  second: number
  output: number
}

export interface Fallen extends Best {
  /** Whether it is the best that anyone ever rode at that second, too. */
  isRecord: boolean
}

/** The `most` that are worth most: class records first, then in the order that they come in. */
export function worthShowing(
  bests: readonly Best[],
  recordAt: (second: number) => number | null,
  most: number,
): Fallen[] {
  const fallen = bests.map((best) => ({
    ...best,
    isRecord: best.output > (recordAt(best.second) ?? -1),
  }))
  // Several may beat what was the record; one does hold it.
  for (const best of fallen) {
    best.isRecord &&= fallen.every(
      (other) => other.second !== best.second || other.output <= best.output,
    )
  }
  return fallen.sort((a, b) => Number(b.isRecord) - Number(a.isRecord)).slice(0, most)
}

export function sentence(
  { second, output, isRecord, ...best }: Fallen,
  nameOf: (racerId: number) => string,
): string {
  return `New ${isRecord ? 'class record' : 'best'} at second ${second}: ${nameOf(best.racerId)}, ${outputText(output)}`
}
