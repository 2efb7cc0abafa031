// @vitest-environment happy-dom
import { beforeEach, expect, it, vi } from 'vitest'
import { nextTick } from 'vue'

import { applyNames, nameOf } from './names'
import { addRival, parseRivals, removeRival, rivals, RIVALS_MAX } from './rivals'

vi.mock('../api/client', () => ({ leaderboard: vi.fn() }))

const ids = () => rivals.value.map(({ racerId }) => racerId)

beforeEach(() => {
  rivals.value = []
})

it('a rival is there once, and can be removed', () => {
  for (const racerId of [1, 2, 1]) addRival({ racerId, name: `R${racerId}` })
  expect(ids()).toEqual([2, 1])
  removeRival(2)
  expect(ids()).toEqual([1])
})

it('of too many the first ones leave', () => {
  for (let racerId = 0; racerId <= RIVALS_MAX; racerId++) addRival({ racerId, name: '' })
  expect(ids()).toHaveLength(RIVALS_MAX)
  expect(ids()[0]).toBe(1)
})

it('stored rivals are read, without invalid ones', () => {
  expect(
    parseRivals('[{"racerId":5,"name":"Bo"},null,{"racerId":6},{"racerId":"x","name":"X"},7]'),
  ).toEqual([{ racerId: 5, name: 'Bo' }])
  const many = Array.from({ length: RIVALS_MAX + 1 }, (_, i) => ({ racerId: i, name: '' }))
  expect(parseRivals(JSON.stringify(many))).toHaveLength(RIVALS_MAX)
  expect(parseRivals('{')).toEqual([])
  expect(parseRivals('{}')).toEqual([])
})

it('a stored name does not replace what the service has said since', async () => {
  addRival({ racerId: 5, name: 'Old' })
  await nextTick()
  expect(nameOf(5)).toBe('Old')
  applyNames([{ racerId: 5, name: 'New' }])
  addRival({ racerId: 6, name: 'Cy' })
  await nextTick()
  expect([nameOf(5), nameOf(6)]).toEqual(['New', 'Cy'])
})
