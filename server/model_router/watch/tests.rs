use super::*;
use crate::providers::listing::ListedPrices;

fn catalog() -> Catalog {
    let text = "[providers.p]\nbase_url = \"http://p/v1\"\n\
        [models.free]\nprovider = \"p\"\nid = \"f\"\ncontext = 8192\n\
        [models.paid]\nprovider = \"p\"\nid = \"d\"\ncontext = 8192\nprices = { prompt = 1.0, completion = 2.0 }\n\
        [models.kept]\nprovider = \"p\"\nid = \"k\"\ncontext = 8192\nprices = { prompt = 1.0, completion = 2.0, cache_read = 0.1 }\n\
        [models.unknown]\nprovider = \"p\"\nid = \"u\"\ncontext = 8192\ntier = \"paid\"\n\
        [tasks.chat]\ncandidate = [\"free\"]\ncontrol = [\"paid\"]\n";
    Catalog::parse(text).unwrap()
}

fn listed(id: &str) -> Listed {
    Listed {
        id: id.into(),
        ..Listed::default()
    }
}

fn prices(prompt: f64, completion: f64) -> Option<ListedPrices> {
    Some(ListedPrices {
        prompt,
        completion,
        cache_read: Some(prompt / 4.0),
        cache_write: None,
    })
}

fn at() -> DateTime<Utc> {
    "2026-11-29T12:00:00Z".parse().unwrap()
}

fn found(watch: &ModelWatch, model: &str) -> Vec<ModelFinding> {
    let watched = watch.of(model).unwrap();
    ModelFinding::ALL
        .into_iter()
        .filter(|it| watched.has(*it))
        .collect()
}

#[test]
fn what_differs_from_the_catalog_is_found_and_said() {
    let (catalog, watch) = (catalog(), ModelWatch::default());
    let day = |day: &str| Some(day.parse().unwrap());
    let told = [
        Listed {
            prices: prices(0.1, 0.2),
            context: Some(4096),
            ..listed("f")
        },
        Listed {
            prices: prices(1.0, 2.0),
            context: Some(8192),
            retires_on: day("2027-03-01"),
            ..listed("d")
        },
        Listed {
            prices: prices(3.0, 4.0),
            retires_on: day("2026-12-05"),
            ..listed("u")
        },
        Listed {
            prices: prices(1.0, 2.0),
            ..listed("k")
        },
    ];
    watch.listed(&catalog, "p", &told, at());
    assert_eq!(
        found(&watch, "free"),
        [ModelFinding::Repriced, ModelFinding::Smaller]
    );
    assert_eq!(found(&watch, "paid"), [], "a day that is far off is none");
    assert_eq!(
        found(&watch, "unknown"),
        [ModelFinding::Retiring],
        "nobody said what it costs"
    );
    let words = |model, finding| {
        let watched = watch.of(model).unwrap();
        watched.words(finding, catalog.model(model).unwrap())
    };
    assert_eq!(
        words("free", ModelFinding::Repriced),
        "`free` (f) costs 0.1 and 0.2 US dollars per million tokens, and the catalog says 0 and 0"
    );
    assert_eq!(
        words("kept", ModelFinding::Repriced),
        "`kept` (k) costs 1 and 2 US dollars per million tokens, and the catalog says 1 and 2; for what it had \
         kept 0.25, and the catalog says 0.1"
    );
    assert_eq!(
        words("free", ModelFinding::Smaller),
        "`free` (f) takes 4096 tokens, and the catalog says 8192"
    );
    assert_eq!(
        words("unknown", ModelFinding::Retiring),
        "`unknown` (u) ends on 2026-12-05"
    );
}

#[test]
fn a_model_is_gone_when_it_is_neither_listed_nor_answers_and_comes_back_by_either() {
    let (catalog, watch) = (catalog(), ModelWatch::default());
    let name: Arc<str> = "free".into();
    let is_gone = || watch.gone().contains("free");
    watch.refused(&name);
    assert!(!is_gone(), "its list was not seen");
    watch.listed(&catalog, "p", &[listed("d")], at());
    assert!(is_gone() && found(&watch, "free") == [ModelFinding::Gone]);
    watch.answered("free");
    assert!(!is_gone() && found(&watch, "free") == [ModelFinding::Missing]);
    watch.refused(&name);
    assert!(is_gone());
    watch.listed(&catalog, "p", &[listed("f")], at());
    assert!(!is_gone() && found(&watch, "free").is_empty());
    watch.not_told(&catalog, "p", at());
    assert!(found(&watch, "free").is_empty());
    // What was refused before it was listed is past.
    watch.listed(&catalog, "p", &[], at());
    assert!(!is_gone());
}

#[tokio::test(start_paused = true)]
async fn a_model_that_is_listed_and_refused_again_and_again_is_gone_until_it_answers() {
    let (catalog, watch) = (catalog(), ModelWatch::default());
    let name: Arc<str> = "free".into();
    let is_gone = || watch.gone().contains("free");
    let list = || watch.listed(&catalog, "p", &[listed("f")], at());
    list();
    let refused_after = async |minutes: u64| {
        tokio::time::advance(Duration::from_secs(minutes * 60)).await;
        watch.refused(&name);
    };
    for minutes in [0, 0, 0, 4, 5] {
        refused_after(minutes).await;
        assert!(!is_gone(), "so many at once are one");
    }
    watch.answered("free");
    for minutes in [0, 5, 11] {
        refused_after(minutes).await;
        assert!(!is_gone(), "three in more than a quarter of an hour");
    }
    refused_after(5).await;
    assert!(!is_gone());
    refused_after(5).await;
    assert!(is_gone() && found(&watch, "free") == [ModelFinding::Gone]);
    assert_eq!(*watch.refusing(), [name]);
    tokio::time::advance(Duration::from_secs(3_600)).await;
    list();
    assert!(is_gone(), "it was listed all the time");
    watch.answered("free");
    assert!(!is_gone() && watch.refusing().is_empty());
}

#[test]
fn a_model_that_another_catalog_has_elsewhere_is_not_gone_there() {
    let (catalog, watch) = (catalog(), ModelWatch::default());
    watch.refused(&"free".into());
    watch.refused(&"paid".into());
    watch.listed(&catalog, "p", &[], at());
    assert!(watch.gone().contains("free") && watch.gone().contains("paid"));
    watch.keep(|model| model != "free");
    assert!(!watch.gone().contains("free") && watch.gone().contains("paid"));
    assert_eq!(watch.of("free"), None);
}
