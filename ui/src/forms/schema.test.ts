import { expect, test } from 'vitest'
import { changes, checker, defaults, put, type Field } from './schema'

const schema: Field = {
  $schema: 'http://json-schema.org/draft-04/schema#', type: 'object',
  properties: {
    service: {
      type: 'object', required: ['name', 'instances'],
      properties: { name: { type: 'string', default: 'redis' }, instances: { type: 'integer', default: 1, minimum: 0, maximum: 1000 }, user: { type: 'string' } },
    },
    tags: { type: 'array', default: ['a'] },
  },
}

test('defaults leave out what has none', () => {
  expect(defaults(schema)).toEqual({ service: { name: 'redis', instances: 1 }, tags: ['a'] })
})

test('only what differs from the defaults is sent', () => {
  const before = defaults(schema)
  expect(changes(before, before)).toEqual({})
  expect(changes(put(before, ['service', 'instances'], 3), before)).toEqual({ service: { instances: 3 } })
  expect(changes(put(put(before, ['service', 'instances'], 3), ['service', 'instances'], 1), before)).toEqual({})
  expect(changes(put(before, ['tags'], ['a', 'b']), before)).toEqual({ tags: ['a', 'b'] })
})

test('putting a value leaves the old options as they were', () => {
  const before = defaults(schema)
  put(before, ['service', 'name'], 'x')
  expect(before).toEqual(defaults(schema))
})

test('what is wrong is said at the field', () => {
  const check = checker(schema)
  expect(check(defaults(schema)).size).toBe(0)
  expect([...check(put(defaults(schema), ['service', 'instances'], -1)).keys()]).toContain('/service/instances')
  expect(check(put(defaults(schema), ['service', 'name'], undefined)).get('/service/name')).toBe('A value is needed.')
  expect([...check(put(defaults(schema), ['service', 'instances'], 1.5)).keys()]).toContain('/service/instances')
})
