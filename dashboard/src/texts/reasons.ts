// Reasons that the controller writes, by its own words, in the other languages; figures that stand behind them stay as they are.
export const REASONS: Record<string, Record<string, string>> = {
  da: {
    'the candidate breaks the absolute limit, and control does not': 'kandidaten bryder den absolutte grænse, og kontrol gør ikke', 'the candidate is worse than control': 'kandidaten er dårligere end kontrol',
    'the candidate does not answer what control does': 'kandidaten svarer ikke på det, kontrol svarer på',
    'the candidate had an outage, and too many probes were not answered either': 'kandidaten havde nedbrud, og for mange prøver blev heller ikke besvaret',
    'evidence is at the level watch': 'evidensen er på niveauet under observation', 'evidence is at the level hold, or was within the last hour': 'evidensen er på niveauet tilbageholdt, eller var det inden for den sidste time',
    "the arms' users are not in the ratio of the share": 'sidernes brugere er ikke delt, som andelen siger', 'both sides break the absolute limit': 'begge sider bryder den absolutte grænse',
    'an outcome that is no error comes more often on the candidate than on control': 'et udfald, der ikke er en fejl, kommer oftere på kandidaten end på kontrol', 'the provider refuses our account': 'udbyderen afviser vores konto',
    'the candidate has an outage: nobody gets it until it has answered probes for a while': 'kandidaten har nedbrud: ingen får den, før den har svaret på prøver et stykke tid', 'no requests come': 'der kommer ingen forespørgsler', 'the plan\'s deadline is over': 'planens frist er udløbet',
    'the stage is over, and a figure of the candidate is above its guard': 'trinnet er forbi, og et tal for kandidaten er over sin grænse',
    "twice the stage's time is over, and too little came of the candidate to judge it": 'trinnets dobbelte tid er forbi, og der kom for lidt fra kandidaten til at bedømme den',
    'the stage is over, and evidence is inconclusive': 'trinnet er forbi, og evidensen afgør intet', 'the stage is over, and evidence recommends the next one': 'trinnet er forbi, og evidensen anbefaler det næste', 'the stage is over, and proven': 'trinnet er forbi og bevist',
  },
};
