/** Pacers: a curve of outputs to ride against, its row on a board, and the gap to it. */
import type { Pace } from '../api/client'
import { isolated, outputText } from '../format'
import type { Standing } from './board'

/** The kinds of pacers, in words. */
export const PACERS = {
  none: { label: 'No pacer', about: 'You ride against the boards alone.' },
  best: { label: 'Your best', about: 'Your own best at every second.' },
  record: { label: 'Class record', about: 'The best of all riders at every second.' },
  top1: {
    label: 'Top 1 %',
    about: 'The output that 99 of 100 riders stay below, at every second.',
  },
  top10: {
    label: 'Top 10 %',
    about: 'The output that 9 of 10 riders stay below, at every second.',
  },
  median: { label: 'Median', about: 'The output that half of the riders stay below.' },
  racer: { label: 'A rider', about: 'Nobody is chosen yet. Until then you ride without a pacer.' },
} as const
export type PacerKind = keyof typeof PACERS

export interface PacerChoice {
  kind: PacerKind
  /** Only of the kind `racer`: the rider; null while none is chosen. */
  racerId: number | null
  /** The rider's name, so that a page shows it before it asks the service; otherwise empty. */
  name: string
}

export const NO_PACER: PacerChoice = { kind: 'none', racerId: null, name: '' }

/** Reads a stored choice; an invalid one becomes no pacer. */
export function parsePacer(text: string): PacerChoice {
  try {
    const { kind, racerId, name } = JSON.parse(text) as Record<keyof PacerChoice, unknown>
    if (typeof kind === 'string' && Object.hasOwn(PACERS, kind)) {
      const choice = { ...NO_PACER, kind: kind as PacerKind }
      if (kind !== 'racer' || !Number.isSafeInteger(racerId)) return choice
      return { ...choice, racerId: racerId as number, name: typeof name === 'string' ? name : '' }
    }
  } catch {
    // Not JSON: no pacer.
  }
  return NO_PACER
}

/** Returns the query of a pacer's curve; null without a pacer. `rider` is the id of the rider of this device. */
export function paceQuery({ kind, racerId }: Omit<PacerChoice, 'name'>, rider: number) {
  switch (kind) {
    case 'none':
      return null
    case 'best':
      return { racers: [rider] }
    case 'record':
      return { rank: [1] }
    case 'top1':
      return { percentile: [99] }
    case 'top10':
      return { percentile: [90] }
    case 'median':
      return { percentile: [50] }
    case 'racer':
      return racerId === null ? null : { racers: [racerId] }
  }
}

/** Returns the first curve of a response by second, without the seconds at which it has no output. */
export function curveOf({ seconds, curves }: Pace): Map<number, number> {
  const outputs = curves[0]?.outputs ?? []
  const curve = new Map<number, number>()
  for (const [i, second] of seconds.entries()) {
    const output = outputs[i]
    if (typeof output === 'number') curve.set(second, output)
  }
  return curve
}

/** The id of the row of a pacer that is no racer. No racer has it. */
export const PACER_ROW_ID = -1

/** A pacer at one second. */
export interface PacerAt {
  label: string
  output: number
  /** The racer that it is; null of all other kinds, and of the rider's own best. */
  racerId: number | null
}

export interface RowWithPacer extends Omit<Standing, 'rank'> {
  /** Null in a row that was added for the pacer. */
  rank: number | null
  /** Whether it is the row of the pacer. */
  pacer?: boolean
  /** Shown in place of the racer's name. */
  label?: string
}

/**
 * Returns the rows with the pacer. A racer's own row is marked if it is there; otherwise a row is added at the place of the
 * output, behind equal ones. It is there even if the place is beyond the rows. Of more than `size` rows, the one farthest from
 * the rider's leaves, so that the board does not grow and shrink.
 */
export function withPacer(
  rows: readonly Standing[],
  pacer: PacerAt | null,
  rider: number,
  size: number,
): RowWithPacer[] {
  if (!pacer || rows.length === 0) return [...rows]
  const { label, output, racerId } = pacer
  if (rows.some((row) => row.racerId === racerId)) {
    return rows.map((row) => (row.racerId === racerId ? { ...row, pacer: true } : row))
  }
  const before = rows.filter((row) => row.output >= output)
  const own = { rank: null, racerId: racerId ?? PACER_ROW_ID, output, pacer: true }
  const all = [
    ...before,
    racerId === null ? { ...own, label } : own,
    ...rows.filter((row) => row.output < output),
  ]
  return all.length > size ? withoutFarthest(all, rider) : all
}

/** Returns the rows without the one that is farthest from the rider's. The pacer's stays. */
function withoutFarthest(rows: readonly RowWithPacer[], rider: number): RowWithPacer[] {
  const place = rows.findIndex(({ racerId }) => racerId === rider)
  const others = rows.filter(({ pacer }) => !pacer)
  const farthest = place > rows.length - 1 - place ? others[0] : others.at(-1)
  return rows.filter((row) => row !== farthest)
}

/** A ride beside its pacer. */
export interface Against {
  /** Mean gap in output: positive if the ride was ahead. */
  average: number
  /** Number of seconds ahead of the pacer. */
  ahead: number
  /** Number of seconds at which the pacer had an output. */
  seconds: number
}

/** Compares a ride with its pacer by second; null if they share no second. */
export function against(
  outputs: readonly number[],
  pace: readonly (number | null)[],
): Against | null {
  let [sum, ahead, seconds] = [0, 0, 0]
  for (const [i, output] of outputs.entries()) {
    const other = pace[i] ?? null
    if (other === null) continue
    sum += output - other
    seconds += 1
    if (output > other) ahead += 1
  }
  return seconds === 0 ? null : { average: sum / seconds, ahead, seconds }
}

/** Returns on which side of the pacer a gap is, in a word. The sign is that of the gap as it is shown. */
export function side(gap: number): 'ahead' | 'behind' | 'level' {
  if (Math.abs(gap) < 0.005) return 'level'
  return gap > 0 ? 'ahead' : 'behind'
}

/** Returns a gap in words for a screen reader: `3.20 ahead of Median`. */
export function gapInWords(gap: number, label: string): string {
  const name = isolated(label)
  const where = side(gap)
  if (where === 'level') return `level with ${name}`
  return `${outputText(Math.abs(gap))} ${where === 'ahead' ? 'ahead of' : 'behind'} ${name}`
}
