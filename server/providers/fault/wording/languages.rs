//! Words of other languages than English, by stems, as words are bent there. Lower case, without quotes.

/// What is sent to a model.
#[rustfmt::skip]
pub(super) const PROMPT: &[&str] = &[
    "prompt", "kontekst", "kontext", "contexte", "contexto", "contesto",
    // Danish, Norwegian, Swedish, Finnish
    "besked", "samtale", "forespørgs", "inddata", "melding", "meddeland", "begäran", "inmatning", "syöte", "viesti",
    // German, Dutch
    "eingabe", "nachricht", "anfrage", "unterhaltung", "invoer", "bericht", "verzoek", "gesprek",
    // French, Spanish, Portuguese, Italian
    "requête", "message", "entrée", "invite", "entrada", "mensaje", "solicitud", "conversa", "mensagem", "pedido",
    "messagg", "richiesta",
    // Polish, Czech, Russian, Turkish, Indonesian, Vietnamese
    "wiadomo", "zapytani", "rozmow", "vstup", "контекст", "запрос", "сообщен", "промпт", "ввод", "диалог", "istem",
    "mesaj", "girdi", "bağlam", "masukan", "pesan", "ngữ cảnh",
    // Japanese, Korean
    "入力", "プロンプト", "メッセージ", "コンテキスト", "입력", "프롬프트", "메시지", "컨텍스트",
];

/// That it is too long or too large.
#[rustfmt::skip]
pub(super) const TOO_LONG: &[&str] = &[
    " er for lang", " var for lang", " blev for lang", " ble for lang", " er for stor", "för lång", "för stor",
    "liian pitk", "liian suur", " zu lang", " zu groß", " te lang", " te groot", "trop long", "trop grand",
    "demasiado larg", "demasiado extens", "demasiado grand", "longo demais", "longa demais", "muito long",
    "troppo lung", "troppo grand", "zbyt dług", "za dług", "příliš dlouh", "слишком длин", "слишком больш",
    "слишком велик", "çok uzun", "terlalu panjang", "quá dài", "長すぎ", "너무 깁", "너무 길", "너무 긴", "너무 큽",
];

/// What has a limit: the context, the tokens, a length. A number of requests has one, too, and is none of these.
#[rustfmt::skip]
pub(super) const LIMITED: &[&str] = &[
    "token", "jeton", "kontekst", "kontext", "contexte", "contexto", "contesto", "længde", "lengde", "längd", "länge",
    "lengte", "longueur", "longitud", "comprimento", "lunghezza", "długo", "délk", "контекст", "токен", "длин",
    "pituu", "bağlam", "uzunlu", "panjang", "ngữ cảnh", "độ dài", "コンテキスト", "トークン", "長さ", "컨텍스트", "토큰",
    "길이",
];

/// That it is exceeded.
#[rustfmt::skip]
pub(super) const EXCEEDED: &[&str] = &[
    "overskrid", "overskred", "overstig", "oversteg", "for mange token", "överskrid", "överstig", "för många token",
    "ylittä", "überschr", "überst", "zu viele token", "overschrijd", "te veel token", "dépass", "excèd", "excéd",
    "trop de token", "trop de jeton", "excede", "supera ", "superan ", "sobrepasa", "demasiados token", "ultrapass",
    "eccede", "troppi token", "przekr", "překr", "превыш", "aşıyor", "aşıld", "melebihi", "vượt quá", "超え", "超過",
    "초과",
];

/// Measures of a prompt.
#[rustfmt::skip]
pub(super) const MEASURES: &[&str] = &["token", "jeton", "токен", "トークン", "토큰", "令牌", "词元"];

/// Things and rates that a sentence may speak of instead.
#[rustfmt::skip]
pub(super) const OTHER_THINGS: &[&str] = &[
    "minut", "sekund", "second", "segund", "pr. dag", "pro tag", "par jour", "分あたり", "분당", "в минуту", "kvote",
    "kontingent", "cuota", "billed", "bild", "datei", "fichier", "archivo", "imagen", "immagin", "obraz", "изображен",
    "файл", "画像", "ファイル", "图片", "文件", "이미지", "파일",
];

/// Signs of a `token` of another kind, or of too little.
#[rustfmt::skip]
pub(super) const OTHER_TOKENS: &[&str] = &[
    "unexpected", "position", "json", "expired", "access token", "api token", "bearer", "auth", "at least", "minimum",
    "mindst", "mindest", "au moins", "al menos",
];

/// What a model writes.
#[rustfmt::skip]
pub(super) const ANSWER: &[&str] = &[
    "svar", "antwort", "réponse", "respuesta", "resposta", "risposta", "antwoord", "odpowied", "ответ", "output",
    "出力", "回答", "输出", "응답", "출력",
];

/// What users send, where a sentence speaks of an answer as well.
#[rustfmt::skip]
pub(super) const OWN_TEXT: &[&str] = &["besked", "eingabe", "entr", "запрос", "入力", "입력"];
