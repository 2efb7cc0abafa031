import { expect, it } from 'vitest'

import { sentence, worthShowing } from './new-bests'

const best = (racerId: number, second: number, output: number) => ({ racerId, second, output })
const RECORDS = { 1: { racerId: 9, output: 200 }, 2: { racerId: 9, output: 210 } }
const classRecordAt = (second: number) => RECORDS[second as 1 | 2] ?? null

it('shows class records before other bests, and one record a second', () => {
  const shown = worthShowing(
    [best(1, 1, 150), best(2, 1, 201), best(3, 2, 210), best(4, 3, 0), best(5, 1, 205)],
    classRecordAt,
    4,
  )
  expect(shown.map(({ racerId, isClassRecord }) => [racerId, isClassRecord])).toEqual([
    [4, true],
    [5, true],
    [1, false],
    [2, false],
  ])
})

it('a class record that was loaded before it is shown is one', () => {
  const shown = worthShowing([best(8, 1, 200), best(9, 1, 200), best(9, 2, 209)], classRecordAt, 3)
  expect(
    shown.map(({ racerId, second, isClassRecord }) => [racerId, second, isClassRecord]),
  ).toEqual([
    [9, 1, true],
    [8, 1, false],
    [9, 2, false],
  ])
})

it('says what fell', () => {
  const nameOf = (racerId: number) => `Racer ${racerId}`
  const holder = { racerId: 9, output: 300 }
  const [fallen] = worthShowing([best(1, 120, 187.25)], () => holder, 1)
  expect(fallen && sentence(fallen, nameOf)).toBe('New best at 2:00: \u2068Racer 1\u2069, 187.25')
  const [record] = worthShowing([best(1, 120, 300.5)], () => holder, 1)
  expect(record && sentence(record, nameOf)).toBe(
    'New class record at 2:00: \u2068Racer 1\u2069, 300.50',
  )
})
