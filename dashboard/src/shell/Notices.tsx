// Lines that stay until they are dismissed, and the two places that screen readers listen to.
import type { JSX } from 'react';
import { Link } from 'wouter';
import { dismiss, useNotices, useSpoken } from '../notices.ts';
import { t } from '../texts/index.ts';
import { Icon } from '../parts/Icon.tsx';

export function Notices(): JSX.Element {
  const notices = useNotices();
  const spoken = useSpoken();
  return (
    <>
      <div className="sr" role="status">{spoken.polite}</div>
      <div className="sr" role="alert">{spoken.assertive}</div>
      {notices.map(({ id, tone, text, link }) => (
        <div key={id} className={`notice ${tone}`}>
          <Icon name={tone} />
          <p>{text} {link && <Link href={link.to}>{link.text}</Link>}</p>
          <button type="button" className="btn bare" aria-label={t.shell.dismiss} onClick={() => dismiss(id)}><Icon name="close" /></button>
        </div>
      ))}
    </>
  );
}
