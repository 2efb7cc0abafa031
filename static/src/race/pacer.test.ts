import { expect, it } from 'vitest'

import {
  against,
  curveOf,
  gapInWords,
  NO_PACER,
  PACER_ROW_ID,
  paceQuery,
  parsePacer,
  side,
  withPacer,
} from './pacer'

const ROWS = [
  { racerId: 1, output: 200, rank: 1 },
  { racerId: 2, output: 190, rank: 2 },
  { racerId: 3, output: 180, rank: 3 },
]

it('every pacer is one curve of the service', () => {
  const query = (kind: Parameters<typeof paceQuery>[0]['kind'], racerId: number | null = null) =>
    paceQuery({ kind, racerId }, 7)
  expect(query('none')).toBeNull()
  expect(query('best')).toEqual({ racers: [7] })
  expect(query('record')).toEqual({ rank: [1] })
  expect(query('top1')).toEqual({ percentile: [99] })
  expect(query('top10')).toEqual({ percentile: [90] })
  expect(query('median')).toEqual({ percentile: [50] })
  expect(query('racer')).toBeNull()
  expect(query('racer', 5)).toEqual({ racers: [5] })
})

it('a stored choice is read, and an invalid one is no pacer', () => {
  const bo = { kind: 'racer', racerId: 5, name: 'Bo' }
  expect(parsePacer(JSON.stringify(bo))).toEqual(bo)
  expect(parsePacer('{"kind":"racer","racerId":5}')).toEqual({ ...bo, name: '' })
  expect(parsePacer('{"kind":"median","racerId":5}')).toEqual({ ...NO_PACER, kind: 'median' })
  for (const text of ['', 'null', '{"kind":"toString"}', '{"kind":"racer","racerId":"x"']) {
    expect(parsePacer(text)).toEqual(NO_PACER)
  }
})

it('a curve has the seconds at which there is an output', () => {
  const curves = [{ outputs: [100, null, 0] }]
  expect([...curveOf({ classId: 1, seconds: [1, 2, 5], curves })]).toEqual([
    [1, 100],
    [5, 0],
  ])
})

it('a pacer without a racer has a row of its own, behind equal outputs, even beyond the rows', () => {
  const ids = (output: number) =>
    withPacer(ROWS, { label: 'Median', output, racerId: null }, 2, 4).map(({ racerId }) => racerId)
  expect(ids(190)).toEqual([1, 2, PACER_ROW_ID, 3])
  expect(ids(500)).toEqual([PACER_ROW_ID, 1, 2, 3])
  expect(ids(1)).toEqual([1, 2, 3, PACER_ROW_ID])
  expect(withPacer(ROWS, null, 2, 4)).toEqual(ROWS)
  expect(withPacer([], { label: 'Median', output: 1, racerId: null }, 2, 4)).toEqual([])
})

it('a racer as pacer is marked in the own row, or added without a rank', () => {
  const of = (racerId: number, output: number) =>
    withPacer(ROWS, { label: 'Bo', output, racerId }, 2, 4)
  expect(of(2, 190)).toEqual([ROWS[0], { ...ROWS[1], pacer: true }, ROWS[2]])
  expect(of(9, 150).at(-1)).toEqual({ rank: null, racerId: 9, output: 150, pacer: true })
})

it('a full board keeps its size: the row farthest from the rider leaves, never the pacer', () => {
  const ids = (rider: number, output: number, racerId: number | null) =>
    withPacer(ROWS, { label: 'Bo', output, racerId }, rider, 3).map(({ racerId }) => racerId)
  // In the middle of the rows.
  expect(ids(2, 500, 9)).toEqual([9, 2, 3])
  expect(ids(2, 1, 9)).toEqual([1, 2, 9])
  expect(ids(2, 195, null)).toEqual([PACER_ROW_ID, 2, 3])
  // At the edges of the board.
  expect(ids(1, 1, 9)).toEqual([1, 2, 9])
  expect(ids(3, 500, 9)).toEqual([9, 2, 3])
  expect(ids(1, 500, null)).toEqual([PACER_ROW_ID, 1, 2])
  // Already there.
  expect(ids(2, 180, 3)).toEqual([1, 2, 3])
})

it('a ride is compared where the pacer has an output', () => {
  expect(against([100, 110, 96], [90, null, 100])).toEqual({ average: 3, ahead: 1, seconds: 2 })
  // Level is not ahead.
  expect(against([100], [100])).toEqual({ average: 0, ahead: 0, seconds: 1 })
  expect(against([100], [null])).toBeNull()
  expect(against([100], [])).toBeNull()
})

it('words and the sign of a gap agree', () => {
  expect([3.2, 0.004, -0.004, -3.2].map(side)).toEqual(['ahead', 'level', 'level', 'behind'])
  expect(gapInWords(3.2, 'Median')).toBe('3.20 ahead of \u2068Median\u2069')
  expect(gapInWords(-0.5, 'Median')).toBe('0.50 behind \u2068Median\u2069')
  expect(gapInWords(0, 'Median')).toBe('level with \u2068Median\u2069')
})
