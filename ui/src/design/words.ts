// The words for states come from the cluster, so that page and command line say the same.
import { createContext, useContext } from 'react'
import type { Severity, StateWord } from '../api/types'

export type Words = ReadonlyMap<string, StateWord>
export const WordsContext = createContext<Words>(new Map())

export function wordsOf(list: StateWord[]): Words { return new Map(list.map(w => [`${w.of} ${w.word}`, w])) }

export function useWord(of: string, word: string): { severity: Severity; meaning: string } {
  return useContext(WordsContext).get(`${of} ${word}`) ?? { severity: 'idle', meaning: '' }
}

const ranks: Record<Severity, number> = { bad: 0, warn: 1, working: 2, ok: 3, idle: 4 }

// useRank sorts worst first.
export function useRank(of: string): (word: string) => number {
  const words = useContext(WordsContext)
  return word => ranks[words.get(`${of} ${word}`)?.severity ?? 'idle']
}
