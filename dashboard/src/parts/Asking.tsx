// The dialogs before a change: stopping is one Enter, raising is a reason and the share typed.
import type { RolloutDetails, RolloutState } from 'modelramp-schema';
import { type JSX, type ReactNode, createContext, useCallback, useContext, useEffect, useMemo, useState } from 'react';
import { useLive } from '../live.ts';
import type { Action } from '../judgement.ts';
import { RaiseDialog, RollBackDialog, StopClockDialog } from './ChangeDialogs.tsx';

export interface Question {
  action: Action;
  rollout: RolloutDetails;
}

interface Asking {
  (question: Question): void;
  /** Whether a rollback was sent whose effect is not seen yet. */
  stopping: (rollout: RolloutState) => boolean;
  sent: (id: string) => void;
  failed: (id: string) => void;
}

const Context = createContext<Asking | null>(null);

export function useAsking(): Asking {
  const asking = useContext(Context);
  if (!asking) throw new Error('useAsking is used outside of its provider');
  return asking;
}

export function AskingProvider({ children }: { children: ReactNode }): JSX.Element {
  const [question, setQuestion] = useState<Question | null>(null);
  const [sent, setSent] = useState<ReadonlySet<string>>(new Set());
  const { rollouts } = useLive();
  const asking = useMemo(
    () =>
      Object.assign((asked: Question) => setQuestion(asked), {
        stopping: (rollout: RolloutState) => rollout.live && sent.has(rollout.id),
        sent: (id: string) => setSent((ids) => new Set([...ids, id])),
        failed: (id: string) => setSent((ids) => new Set([...ids].filter((other) => other !== id))),
      }),
    [sent],
  );
  const close = useCallback(() => setQuestion(null), []);
  // Such a rollout is ended for everybody: the question has answered itself.
  const current = question && (rollouts.find(({ id }) => id === question.rollout.id) ?? question.rollout);
  useEffect(() => {
    if (question && current && !current.live) close();
  }, [question, current, close]);
  return (
    <Context.Provider value={asking}>
      {children}
      {question && current && (
        question.action === 'rollback'
          ? <RollBackDialog rollout={current} onClose={close} />
          : question.action === 'pause' || question.action === 'resume'
            ? <StopClockDialog action={question.action} rollout={current} onClose={close} />
            : <RaiseDialog action={question.action} rollout={current} onClose={close} />
      )}
    </Context.Provider>
  );
}
