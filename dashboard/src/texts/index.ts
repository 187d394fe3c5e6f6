// The one place that pages take their words from. `t` is the language that was chosen; the root is drawn anew when it changes.
import { preferences } from '../preferences.ts';
import { da } from './da.ts';
import { en } from './en.ts';

/** The shape of the English texts, with any words. */
type Words<T> = T extends string ? string : T extends (...args: infer A) => string ? (...args: A) => string : T extends readonly (infer I)[] ? Words<I>[] : { [K in keyof T]: Words<T[K]> };
export type Texts = Words<typeof en>;

export let t: Texts = preferences().language === 'da' ? da : en;

export function speak(language: 'en' | 'da'): void {
  t = language === 'da' ? da : en;
}
