//! Which fault the words of a refusal mean.

use super::*;

#[test]
fn too_long_is_told_in_many_words_and_places() {
    let words = [
        "This model's maximum context length is 8192 tokens. However, you requested 9000 tokens.",
        "prompt is too long: 9001 tokens > 8192 maximum",
        "The input (9001 tokens) is longer than the model's context length (8192 tokens).",
        "The input token count (9000) exceeds the maximum number of tokens allowed (8192).",
        "Input is too long for requested model.",
        "The conversation does not fit in the window of the model",
        "Your message is longer than what this model can take in.",
        "Please reduce the length of the messages or completion.",
        "输入长度超过模型最大上下文长度 8192 tokens",
        "Prompt 超长",
        "`inputs` tokens + `max_new_tokens` must be <= 4096. Given: 5000 `inputs` tokens and 1 `max_new_tokens`",
        "Input validation error: `inputs` must have less than 4095 tokens. Given: 5000",
        "Prompt contains 40000 tokens, too large for model with 32768 maximum context length",
        "too many tokens: total number of tokens in the prompt cannot exceed 4081 - received 5000.",
        "Range of input length should be [1, 6000]",
        "Prompt exceeds max length",
        "Invalid request: Your request exceeded model token limit: 8192",
        "the request exceeds the available context size, try increasing it",
        "This model's maximum prompt length is 131072 but the request contains 537812 tokens.",
        "Requested tokens (5000) exceed context window of 4096",
        "The decoder prompt (length 5000) is longer than the maximum model length of 4096. Make sure that `max_model_len` is no smaller",
        "input length exceeds the context length",
        "Request body too large for gpt-4o-mini model. Max size: 8000 tokens.",
        "Unable to submit request because the input token count is 32790 but model only supports up to 8192.",
        "litellm.ContextWindowExceededError: too much",
        "Requested input length 5000 exceeds maximum input length 4096",
        "'max_tokens' is too large: 4096. This model's maximum context length is 4096 tokens and your request has 1000 input tokens",
    ];
    for text in words {
        for body in [
            json!({"error": {"message": text, "code": 400}}),
            json!({"object": "error", "message": text, "type": "BadRequestError", "code": 400}),
            json!([{"error": {"code": 400, "message": text, "status": "INVALID_ARGUMENT"}}]),
            json!({"type": "error", "error": {"type": "invalid_request_error", "message": text}}),
            json!({"error": {"message": "Provider returned error", "code": 400, "metadata": {"provider_name": "X", "raw": json!({"error": {"message": text}}).to_string()}}}),
            json!({"error": {"message": "Provider returned error", "metadata": {"raw": text}}}),
            json!({ "detail": text }),
            json!({"detail": [{"loc": ["body"], "msg": text, "type": "value_error"}]}),
            json!({ "message": text }),
            json!({ "error": text, "error_type": "validation" }),
            json!({"object": "error", "message": {"detail": [{"msg": text}]}}),
            json!({"error": {"message": "Bad", "innererror": {"message": text}}}),
            json!({"errors": [{"message": text, "code": 5021}], "success": false}),
        ] {
            assert_eq!(kind(400, &body), FaultKind::ContextLength, "{body}");
        }
        let plain = Fault::of_response(400, &HeaderMap::new(), text.as_bytes());
        assert_eq!(plain.kind, FaultKind::ContextLength, "{text}");
        assert_eq!(
            kind(422, &json!({ "detail": text })),
            FaultKind::ContextLength
        );
        assert_eq!(
            kind(500, &json!({ "error": text })),
            FaultKind::ContextLength
        );
        let inside = Fault::of_error(&json!({"code": 400, "message": text}));
        assert_eq!(inside.kind, FaultKind::ContextLength, "{text}");
    }
}

/// The world: servers and gateways that translate, or were written for one country.
#[test]
fn too_long_is_told_in_other_languages_and_by_numbers() {
    for text in [
        "Din besked er for lang til modellen.",
        "Forespørgslen overskrider modellens kontekst",
        "Prompten fylder 9.001 tokens, men modellen tager højst 8.192.",
        "Eingabe ist zu lang: 9001 Tokens bei einem Kontext von 8192",
        "Die Nachricht überschreitet das Kontextfenster.",
        "La requête dépasse la fenêtre de contexte (9\u{202f}001 jetons pour 8\u{202f}192)",
        "Le message est trop long pour ce modèle",
        "El mensaje es demasiado largo",
        "La entrada supera la ventana de contexto",
        "A mensagem excede o limite do contexto",
        "Il messaggio è troppo lungo",
        "Het bericht is te lang voor dit model",
        "Meddelandet är för långt",
        "Wiadomość jest zbyt długa",
        "Запрос слишком длинный",
        "入力が長すぎます",
        "입력이 너무 깁니다",
        "n_prompt=9001 n_max=8192 tokens",
        "9001/8192 トークン",
    ] {
        for body in [
            json!({ "error": text }),
            json!({"error": {"code": 400, "message": text}}),
        ] {
            assert_eq!(kind(400, &body), FaultKind::ContextLength, "{body}");
        }
    }
    // Without a word that is known the model's own context is a sign, with something larger beside it.
    let at = |text: &str, context: u32| {
        let body = json!({ "error": text }).to_string();
        let fault = Fault::of_response(400, &HeaderMap::new(), body.as_bytes());
        fault.at_context(context).kind
    };
    assert_eq!(
        at("Mesurado 9001, mezuro 8192", 8192),
        FaultKind::ContextLength
    );
    assert_eq!(
        at("Mesurado 9001, mezuro 8192", 8000),
        FaultKind::BadRequest
    );
    assert_eq!(at("Mesurado 700, mezuro 8192", 8192), FaultKind::BadRequest);
    assert_eq!(at("max_tokens: 9000 > 8192", 8192), FaultKind::BadRequest);
    for text in [
        "Svaret må højst være 8192 tokens, men 9000 blev ønsket",
        "Uventet felt i beskeden",
        "Billedet er for stort, højst 20 MB",
        "Unexpected token at position 9001 of 12000",
        "Le fichier est trop grand",
        "Din token er ugyldig (kode 90012)",
        "Prompt must have at least 1024 tokens to be kept, got 700",
    ] {
        assert_eq!(
            kind(400, &json!({ "error": text })),
            FaultKind::BadRequest,
            "{text}"
        );
    }
    for requests in [
        "Слишком много запросов",
        "Zu viele Anfragen",
        "Demasiadas solicitudes",
        "Trop de requêtes",
        "For mange forespørgsler",
        "Лимит запросов превышен",
    ] {
        let kind = kind(400, &json!({ "error": requests }));
        assert_eq!(kind, FaultKind::BadRequest, "{requests}");
    }
    let broken = "worker failed after 1523 of 4096 tokens";
    assert_eq!(kind(500, &json!({ "error": broken })), FaultKind::Upstream);
    let rate = "Du har brugt 12000 tokens pr. minut af 10000";
    assert_eq!(kind(400, &json!({ "error": rate })), FaultKind::BadRequest);
}

#[test]
fn what_only_sounds_too_long_is_not() {
    for (status, text, expected) in [
        (
            400,
            "max_tokens is too large: 50000. This model supports at most 16384 completion tokens, whereas you provided 50000.",
            FaultKind::BadRequest,
        ),
        (
            400,
            "`max_tokens` must be less than or equal to `8192`, the maximum value for `max_tokens` is less than the `context_window` for this model",
            FaultKind::BadRequest,
        ),
        (
            400,
            "max_tokens: Input should be less than or equal to 4096 (got 8192)",
            FaultKind::BadRequest,
        ),
        (
            400,
            "The image in your message does not fit the model's grid",
            FaultKind::BadRequest,
        ),
        (
            400,
            "Input 'temperature' does not fit the schema",
            FaultKind::BadRequest,
        ),
        (
            500,
            "cannot process the request: the model does not fit in GPU memory",
            FaultKind::Upstream,
        ),
        (
            500,
            "The request took longer than the model is given (60 seconds)",
            FaultKind::Upstream,
        ),
        (
            400,
            "Invalid input: max_new_tokens must be <= 4096, given 8192",
            FaultKind::BadRequest,
        ),
        (
            400,
            "Input validation error: max_tokens 8192 exceeds 4096",
            FaultKind::BadRequest,
        ),
        (400, "输入图片过大，超过 10 MB", FaultKind::BadRequest),
        (
            400,
            "max_tokens: 9000 > 8192, which is the maximum allowed number of output tokens",
            FaultKind::BadRequest,
        ),
        (
            400,
            "The maximum tokens you requested exceeds the model limit of 8192.",
            FaultKind::BadRequest,
        ),
        (
            400,
            "Input validation error: `max_new_tokens` must be strictly positive",
            FaultKind::BadRequest,
        ),
        (
            400,
            "Input image is too large: the maximum is 20 MB",
            FaultKind::BadRequest,
        ),
        (
            400,
            "Invalid 'tools[0].function.name': string too long. Expected a string with maximum length 64",
            FaultKind::BadRequest,
        ),
        (
            429,
            "Rate limit reached on tokens per min (TPM): Limit 10000, Requested 12000.",
            FaultKind::RateLimited,
        ),
        (
            413,
            "Request too large for model `x` on tokens per minute (TPM): Limit 6000, Requested 9000",
            FaultKind::RateLimited,
        ),
        (
            400,
            "Conversation roles must alternate user/assistant/user/assistant/...",
            FaultKind::BadRequest,
        ),
        (500, "context deadline exceeded", FaultKind::Upstream),
        (
            400,
            "Developer instruction is not enabled for models/gemma-3-27b-it",
            FaultKind::BadRequest,
        ),
        (
            403,
            "The model is not available in your region.",
            FaultKind::Refused,
        ),
        (
            403,
            "Your organization must be verified to use the model `x`.",
            FaultKind::Refused,
        ),
        (
            403,
            "Project `proj_x` does not have access to model `y`",
            FaultKind::Refused,
        ),
    ] {
        let body = json!({"error": {"message": text}});
        assert_eq!(kind(status, &body), expected, "{text}");
    }
}

#[test]
fn an_accounts_fault_is_told_in_words() {
    for (status, text, expected) in [
        (
            403,
            "Key limit exceeded (monthly limit). Manage it using https://openrouter.ai/settings/keys",
            FaultKind::AccountLimit,
        ),
        (
            403,
            "Your account has been suspended.",
            FaultKind::AccountLimit,
        ),
        (
            400,
            "This organization has been disabled.",
            FaultKind::AccountLimit,
        ),
        (403, "API key is disabled", FaultKind::AccountLimit),
        (
            403,
            "Insufficient credits. Add more using the dashboard",
            FaultKind::AccountLimit,
        ),
        (
            403,
            "Quota exceeded for this project",
            FaultKind::AccountLimit,
        ),
        (
            400,
            "Your credit balance is too low to access the Anthropic API.",
            FaultKind::Payment,
        ),
        (
            400,
            "Access denied, please make sure your account is in good standing.",
            FaultKind::AccountLimit,
        ),
        (
            429,
            "You exceeded your current quota, please check your plan and billing details.",
            FaultKind::Payment,
        ),
        (
            400,
            "API key not valid. Please pass a valid API key.",
            FaultKind::Authentication,
        ),
        (403, "Billing is not active", FaultKind::AccountLimit),
    ] {
        let body = json!({"error": {"code": status, "message": text}});
        assert_eq!(kind(status, &body), expected, "{text}");
        // What a provider behind ours says is of another account.
        let relayed = json!({"error": {"code": 400, "message": "Provider returned error", "metadata": {"provider_name": "X", "raw": body.to_string()}}});
        assert!(!kind(400, &relayed).is_accounts(), "{text}");
    }
    let hint = json!({"error": {"code": 429, "message": "You exceeded your current quota, please check your plan and billing details.",
        "details": [{"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "34s"}]}});
    let fault = Fault::of_response(429, &HeaderMap::new(), hint.to_string().as_bytes());
    assert_eq!(fault.kind, FaultKind::RateLimited);
    assert_eq!(fault.retry_after, Some(Duration::from_secs(34)));
}
