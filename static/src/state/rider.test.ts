// @vitest-environment happy-dom
import { expect, it } from 'vitest'
import { nextTick } from 'vue'

import { applyNames, nameOf } from './names'
import { displayName, parseIdentity, rider } from './rider'

it('a stored identity is read, and an invalid one becomes a new guest', () => {
  const kofi = { racerId: 5, name: 'Kofi', guest: false }
  const ann = { racerId: 6, name: 'Ann', guest: true }
  expect([kofi, ann].map((one) => parseIdentity(JSON.stringify(one)))).toEqual([kofi, ann])
  for (const text of ['', 'null', '{}', '{"racerId":1.5,"name":"x"}', '{"racerId":1}']) {
    const { racerId, name, guest } = parseIdentity(text)
    expect([name, guest], text).toEqual(['Guest', true])
    expect(racerId).toBeGreaterThanOrEqual(1e12)
    expect(racerId).toBeLessThan(2e12)
  }
})

it('a guest has its own name, and any other racer the one that the service has', () => {
  applyNames([{ racerId: 17, name: 'Arjun' }])
  expect(displayName({ racerId: 17, name: '', guest: false })).toBe('Arjun')
  expect(displayName({ racerId: 18, name: '', guest: false })).toBe('Racer 18')
  expect(displayName({ racerId: 19, name: '', guest: true })).toBe('Guest')
  // A name without a visible character counts as no name.
  applyNames([{ racerId: 20, name: ' \u200b\u202e ' }])
  expect(displayName({ racerId: 20, name: '', guest: false })).toBe('Racer 20')
  expect(displayName({ racerId: 19, name: ' \u200b\u202e ', guest: true })).toBe('Guest')
})

it('a guest has its own name on boards that have an earlier one, while it is the rider', async () => {
  rider.value = { racerId: 21, name: 'Berta', guest: true }
  await nextTick()
  applyNames([{ racerId: 21, name: 'Anna' }])
  expect(nameOf(21)).toBe('Berta')
  rider.value = { racerId: 22, name: '', guest: false }
  await nextTick()
  applyNames([{ racerId: 22, name: 'Kofi' }])
  expect([21, 22].map(nameOf)).toEqual(['Anna', 'Kofi'])
})

it('a guest whose name is deleted has the same name on the boards as above them', async () => {
  rider.value = { racerId: 20, name: 'A', guest: true }
  await nextTick()
  expect(nameOf(20)).toBe('A')
  rider.value.name = ''
  await nextTick()
  expect(nameOf(20)).toBe(displayName(rider.value))
})
