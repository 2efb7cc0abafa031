import { expect, it } from 'vitest'

import { parseAddress, toQuery } from './explore-address'

const FIRST = { second: 60, whole: false, around: null, racers: null, race: null }

it('an address reads as it was written', () => {
  const address = { second: 217, whole: true, around: 5, racers: [5, 17], race: 1619185620265 }
  expect(toQuery(address)).toEqual({
    second: '217',
    board: 'race',
    around: '5',
    racers: '5,17',
    race: '1619185620265',
  })
  expect(parseAddress(toQuery(address))).toEqual(address)
  expect(parseAddress(toQuery({ ...FIRST, racers: [] }))).toEqual({ ...FIRST, racers: [] })
})

it('what is as at first is not written', () => {
  expect(toQuery(FIRST)).toEqual({})
  expect(parseAddress({})).toEqual(FIRST)
})

it('invalid parts count as missing', () => {
  const query = { second: 'x', board: 'none', around: '-1', racers: '1,x,1e3,,2,2', race: '9e15' }
  expect(parseAddress(query)).toEqual({ ...FIRST, racers: [1, 2] })
  expect(parseAddress({ second: '900' }).second).toBe(300)
  expect(parseAddress({ second: '0' }).second).toBe(1)
  expect(parseAddress({ around: '99999999999999999999' }).around).toBe(null)
  expect(parseAddress({ second: ['90', '91'] }).second).toBe(90)
  expect(parseAddress({ racers: '1,2,3,4,5,6,7,8' }).racers).toHaveLength(6)
})
