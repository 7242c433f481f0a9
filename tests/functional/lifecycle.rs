//! Modules and routes from their first upload to their removal.

use control_api::client::{UploadAnswer, UploadRequest};
use control_api::view::{JobState, PageRequest, Precondition, RouteWrite, TenantWrite, Written};
use littoral_tests::{Shared, TestEdge, component, refusal, run, until, with_section};
use serde_json::json;

static NODE: Shared = Shared::new();

fn page() -> PageRequest {
    PageRequest {
        after: None,
        limit: 100,
    }
}

#[test]
fn a_module_is_uploaded_routed_listed_served_and_deleted() {
    run(async {
        let edge = NODE.edge().await;
        let acme = edge.tenant("life").await;
        let version = acme.version("site", 3, component("hello")).await;
        assert_eq!(version.version, 3);
        assert_eq!(version.world, "wasi:http/proxy@0.2");
        assert_eq!(edge.get("life.test/").await.reason(), "no-route");

        let route = acme.route("life.test/", "site", None).await.unwrap();
        assert_eq!(route.serves_version, 3);
        assert_eq!(
            edge.get("life.test/").await.text(),
            "Hello from the edge!\n"
        );

        let client = edge.client();
        let modules = client.modules(acme.name(), &page()).await.unwrap().items;
        let routes = client.routes(acme.name(), &page()).await.unwrap().items;
        assert_eq!(
            modules
                .iter()
                .map(|module| module.name.as_str())
                .collect::<Vec<_>>(),
            ["site"]
        );
        assert_eq!(routes, [route]);

        assert_eq!(refusal(acme.delete_module("site").await), "module-in-use");
        acme.unroute("life.test/").await.unwrap();
        assert_eq!(edge.get("life.test/").await.reason(), "no-route");
        acme.delete_module("site").await.unwrap();
        let gone = client.module(acme.name(), &"site".parse().unwrap()).await;
        assert_eq!(refusal(gone), "module-not-found");
    });
}

#[test]
fn lists_come_in_pages() {
    run(async {
        let edge = NODE.edge().await;
        let acme = edge.tenant("pages").await;
        acme.version("site", 1, component("hello")).await;
        for number in 0..5 {
            acme.route(&format!("p{number}.pages.test/"), "site", None)
                .await
                .unwrap();
        }
        let mut seen = Vec::new();
        let mut after = None;
        loop {
            let request = PageRequest { after, limit: 2 };
            let page = edge.client().routes(acme.name(), &request).await.unwrap();
            assert!(page.items.len() <= 2);
            seen.extend(page.items.into_iter().map(|route| route.id.to_string()));
            match page.next_after {
                Some(next) => after = Some(next),
                None => break,
            }
        }
        let all: Vec<_> = (0..5)
            .map(|number| format!("p{number}.pages.test/"))
            .collect();
        assert_eq!(seen, all);
    });
}

#[test]
fn versions_only_rise_also_after_module_and_tenant_are_deleted() {
    run(async {
        let edge = NODE.edge().await;
        let acme = edge.tenant("rising").await;
        let other = with_section(&component("hello"), "other");
        acme.version("site", 7, component("hello")).await;
        for old in [6, 7] {
            assert_eq!(
                refusal(acme.upload("site", old, other.clone()).await),
                "version-not-above"
            );
        }
        acme.delete_module("site").await.unwrap();
        let again = acme.upload("site", 7, component("hello")).await;
        assert_eq!(refusal(again), "version-not-above");

        let name = acme.name().clone();
        edge.client()
            .delete_tenant(&name, Default::default())
            .await
            .unwrap();
        let acme = edge.tenant("rising").await;
        let again = acme.upload("site", 7, component("hello")).await;
        assert_eq!(refusal(again), "version-not-above");
        acme.version("site", 8, component("hello")).await;
    });
}

#[test]
fn a_pinned_route_serves_an_older_version_that_is_kept() {
    run(async {
        let edge = NODE.edge().await;
        let acme = edge.tenant("pinned").await;
        acme.version("site", 1, component("hello")).await;
        acme.route("now.pinned.test/", "site", None).await.unwrap();
        acme.route("then.pinned.test/", "site", Some(1))
            .await
            .unwrap();
        acme.version("site", 2, component("remembers")).await;
        assert_eq!(edge.get("now.pinned.test/").await.text(), "1\n");
        assert_eq!(
            edge.get("then.pinned.test/").await.text(),
            "Hello from the edge!\n"
        );

        let back = acme
            .route("now.pinned.test/", "site", Some(1))
            .await
            .unwrap();
        assert_eq!(back.serves_version, 1);
        assert_eq!(
            edge.get("now.pinned.test/").await.text(),
            "Hello from the edge!\n"
        );
        let never = acme.route("never.pinned.test/", "site", Some(9)).await;
        assert_eq!(refusal(never), "version-not-found");
    });
}

#[test]
fn only_so_many_versions_are_kept_and_those_that_routes_pin() {
    run(async {
        let edge = NODE.edge().await;
        let limits = serde_json::json!({ "kept_versions_max": 2 });
        let acme = edge.tenant_limited("keeping", limits).await;
        let hello = component("hello");
        acme.version("site", 1, hello.clone()).await;
        acme.route("first.keeping.test/", "site", Some(1))
            .await
            .unwrap();
        for version in 2..=4 {
            acme.version("site", version, with_section(&hello, &version.to_string()))
                .await;
        }
        let module = edge
            .client()
            .module(acme.name(), &"site".parse().unwrap())
            .await
            .unwrap();
        let kept: Vec<_> = module
            .value
            .versions
            .iter()
            .map(|kept| kept.version)
            .collect();
        assert_eq!((kept, module.value.highest_version), (vec![4, 1], 4));
        assert_eq!(edge.get("first.keeping.test/").await.status(), 200);
    });
}

#[test]
fn identical_components_of_two_tenants_share_one_artifact() {
    run(async {
        let edge = TestEdge::start().await;
        let (one, two) = (edge.tenant("one").await, edge.tenant("two").await);
        one.guest("hello").await;
        two.guest("hello").await;
        assert_eq!(edge.status().await.artifacts, 1);
        let shared = "littoral_artifact_states_total{state=\"shared\"}";
        assert!(edge.metric(shared).await >= 1.0);

        // It goes with the last who stands on it.
        one.unroute("hello.one.test/").await.unwrap();
        one.delete_module("hello").await.unwrap();
        assert_eq!(edge.get("hello.two.test/").await.status(), 200);
        two.unroute("hello.two.test/").await.unwrap();
        two.delete_module("hello").await.unwrap();
        until("the artifact and the component are collected", async || {
            edge.left().await.1.is_empty().then_some(())
        })
        .await;
    });
}

#[test]
fn sending_the_same_upload_again_is_harmless() {
    run(async {
        let edge = NODE.edge().await;
        let acme = edge.tenant("again").await;
        let request = acme.request("site", 1, component("hello"));
        let first = acme.send(&request).await.unwrap();
        let revision = edge
            .client()
            .module(acme.name(), &"site".parse().unwrap())
            .await
            .unwrap()
            .revision;
        let second = acme.send(&request).await.unwrap();
        let (
            UploadAnswer::Done {
                version: first,
                created: true,
            },
            UploadAnswer::Done {
                version: second,
                created: false,
            },
        ) = (first, second)
        else {
            panic!("the first creates, the second does not");
        };
        assert_eq!(first, second);
        let after = edge
            .client()
            .module(acme.name(), &"site".parse().unwrap())
            .await
            .unwrap();
        assert_eq!(after.revision, revision);
    });
}

#[test]
fn an_upload_can_be_answered_at_once_and_followed_as_a_job() {
    run(async {
        let edge = NODE.edge().await;
        let acme = edge.tenant("async").await;
        let mut request = acme.request("site", 1, with_section(&component("hello"), "job"));
        request.respond_async = true;
        let UploadAnswer::Accepted(job) = acme.send(&request).await.unwrap() else {
            panic!("202 was asked for");
        };
        assert_eq!((job.version, job.module.as_str()), (1, "site"));
        let (version, written) = until("the job is done", async || {
            match edge.client().job(acme.name(), &job.id).await.unwrap().state {
                JobState::Done { version, written } => Some((version, written)),
                JobState::Failed { problem } => panic!("{problem:?}"),
                JobState::Queued { position } => {
                    assert!(position >= 1);
                    None
                }
                JobState::Compiling { .. } => None,
            }
        })
        .await;
        assert_eq!((version.version, written), (1, Written::Created));

        let mut bad = acme.request("site", 2, component("not-http"));
        bad.respond_async = true;
        let UploadAnswer::Accepted(job) = acme.send(&bad).await.unwrap() else {
            panic!("202 was asked for");
        };
        let problem = until("the job has failed", async || {
            match edge.client().job(acme.name(), &job.id).await.unwrap().state {
                JobState::Failed { problem } => Some(problem),
                _ => None,
            }
        })
        .await;
        assert_eq!(problem.kind().unwrap().slug(), "exports-not-served");

        let other = edge.tenant("async-other").await;
        assert_eq!(
            refusal(edge.client().job(other.name(), &job.id).await),
            "job-not-found"
        );
    });
}

#[test]
fn a_dry_run_says_what_would_happen_and_keeps_nothing() {
    run(async {
        let edge = TestEdge::start().await;
        let acme = edge.tenant("dry").await;
        let before = edge.left().await;
        let client = edge.client();

        let good = acme.request("site", 1, component("hello"));
        let answer = client.upload_dry_run(&good, |_| {}).await.unwrap();
        assert!(
            answer.accepted && answer.fits && !answer.artifact_ready,
            "{answer:?}"
        );
        assert_eq!(answer.world.as_deref(), Some("wasi:http/proxy@0.2"));
        assert!(answer.inspection.memory_initial_bytes > 0);
        assert!(
            answer
                .inspection
                .imports
                .iter()
                .all(|import| import.granted)
        );

        // What is offered and of no use without a grant is said with the grant that is lacking.
        let counter = acme.request("counter", 1, component("spin5-counter"));
        let needs = async || {
            let answer = client.upload_dry_run(&counter, |_| {}).await.unwrap();
            assert!(answer.accepted, "{answer:?}");
            let imports = answer.inspection.imports.into_iter();
            let lacking = imports.filter_map(|import| Some((import.name, import.needs?)));
            lacking.collect::<Vec<_>>()
        };
        let store = "fermyon:spin/key-value@2.0.0".to_owned();
        assert_eq!(needs().await, [(store, "key_value".to_owned())]);

        for (guest, missing) in [("wants-unknown", "acme:nothing/here@1.2.3")] {
            let mut request = acme.request("site", 1, component(guest));
            request.statement = None;
            let answer = client.upload_dry_run(&request, |_| {}).await.unwrap();
            assert!(!answer.accepted, "{guest}");
            let refused: Vec<_> = answer
                .inspection
                .imports
                .iter()
                .filter(|import| !import.granted)
                .collect();
            assert!(
                refused
                    .iter()
                    .any(|import| import.name.starts_with(missing)),
                "{guest}: {refused:?}"
            );
            assert!(
                answer.problems[0]
                    .problem_type
                    .ends_with("/imports-not-offered"),
                "{answer:?}"
            );
        }
        assert_eq!(edge.left().await, before);

        acme.version("site", 1, component("hello")).await;
        let revision = edge.status().await.revision;
        let write = RouteWrite {
            module: "site".parse().unwrap(),
            version: None,
        };
        let id = "dry.test/".parse().unwrap();
        let answer = client
            .put_route_dry_run(acme.name(), &id, &write, Default::default())
            .await
            .unwrap();
        assert_eq!(
            (answer.would, answer.route.serves_version),
            (Written::Created, 1)
        );
        assert_eq!(edge.status().await.revision, revision);
        assert_eq!(edge.get("dry.test/").await.reason(), "no-route");

        // With a statement or without one, it says what would stand in the way.
        let mut next = acme.request("site", 2, with_section(&component("hello"), "dry"));
        let refused = async |request: &UploadRequest| {
            let answer = client.upload_dry_run(request, |_| {}).await.unwrap();
            assert!(!answer.accepted, "{answer:?}");
            let uri = &answer.problems[0].problem_type;
            uri.rsplit('/').next().unwrap().to_owned()
        };
        let full = json!({ "modules_max": 1 });
        for signed in [true, false] {
            if !signed {
                next.statement = None;
            }
            next.precondition = Precondition::Absent;
            assert_eq!(refused(&next).await, "already-there");
            next.precondition = Precondition::Revision(9_999);
            assert_eq!(refused(&next).await, "revision-mismatch");
        }
        acme.limit(full).await;
        let mut second = acme.request("second", 1, component("hello"));
        assert_eq!(refused(&second).await, "limit-reached");
        second.statement = None;
        assert_eq!(refused(&second).await, "limit-reached");
        let suspended = TenantWrite {
            suspended: true,
            ..TenantWrite::default()
        };
        acme.settings(&suspended).await;
        next.precondition = Precondition::None;
        assert_eq!(refused(&next).await, "tenant-suspended");
    });
}
