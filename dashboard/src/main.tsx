import { QueryClient, QueryClientProvider } from '@tanstack/react-query';
import { StrictMode, useEffect } from 'react';
import { createRoot } from 'react-dom/client';
import { Router } from 'wouter';
import { Routes } from './Routes.tsx';
import { usePreferences } from './preferences.ts';
import { codeOf } from './server.ts';
import './styles/tokens.css';
import './styles/shell.css';
import './styles/parts.css';
import './styles/pages.css';
import { speak } from './texts/index.ts';

const queries = new QueryClient({
  defaultOptions: {
    queries: {
      // The server's own refusals are answers; only silence is asked again.
      retry: (count, error) => codeOf(error) === undefined && count < 5,
      retryDelay: (count) => Math.min(500 * 2 ** count, 4000),
      staleTime: 2000,
    },
  },
});

function Root(): React.JSX.Element {
  const { language, zone } = usePreferences();
  speak(language);
  useEffect(() => {
    document.documentElement.lang = language;
  }, [language]);
  return (
    <QueryClientProvider client={queries}>
      <Router base="/dashboard" key={`${language} ${zone}`}>
        <Routes />
      </Router>
    </QueryClientProvider>
  );
}

const root = document.querySelector('#root');
if (root) createRoot(root).render(<StrictMode><Root /></StrictMode>);
