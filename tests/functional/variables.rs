//! Configuration and secrets: what guests read, whose it is, and that a secret is nowhere else.

use std::path::Path;

use control_api::client::ClientError;
use control_api::view::Precondition;
use littoral_tests::{Shared, Tenant, TestEdge, component, refusal, run};
use serde_json::{Value, json};

static NODE: Shared = Shared::new();

const GUESTS: [&str; 2] = ["spin5-keeps", "spin7-keeps"];
const SECRET: &str = "correct-horse-battery-staple";

/// What a guest of a tenant is told: what it read, or the error it was given.
async fn read(edge: &TestEdge, tenant: &str, guest: &str, name: &str) -> Result<String, String> {
    told(edge, &format!("{guest}.{tenant}.test/variable?key={name}")).await
}

async fn told(edge: &TestEdge, place: &str) -> Result<String, String> {
    let answer = edge.get(place).await;
    match answer.status() {
        200 => Ok(answer.text()),
        418 => Err(answer.text()),
        other => panic!("{place}: {other} {}", answer.text()),
    }
}

fn plain(value: &str) -> Value {
    json!({ "value": value })
}

fn secret(value: &str) -> Value {
    json!({ "value": value, "secret": true })
}

async fn tenant_with_guests(edge: &TestEdge, name: &str) -> Tenant {
    let tenant = edge.tenant(name).await;
    for guest in GUESTS {
        tenant.guest(guest).await;
    }
    tenant
}

#[test]
fn a_guest_reads_its_modules_own_and_the_tenants_that_it_was_granted() {
    run(async {
        let edge = NODE.edge().await;
        let acme = tenant_with_guests(&edge, "reads").await;
        let other = tenant_with_guests(&edge, "stranger").await;
        other.variable("greeting", plain("theirs")).await.unwrap();
        for guest in GUESTS {
            let asked = async |name: &str| read(&edge, "reads", guest, name).await;
            let own = format!("{guest}/password");
            let undefined = |said: Result<String, String>, why: &str| {
                let said = said.unwrap_err();
                assert!(said.contains("Undefined") && said.contains(why), "{said}");
            };
            undefined(asked("greeting").await, "there is no variable");
            acme.variable("greeting", plain("hello")).await.unwrap();
            undefined(asked("greeting").await, "was not granted to module");
            acme.grants(guest, json!({"variables": ["greeting"]}))
                .await
                .unwrap();
            assert_eq!(asked("greeting").await.as_deref(), Ok("hello"));
            // Its own needs no grant, and comes before the tenant's. Nothing is deployed again.
            acme.variable(&own, secret(SECRET)).await.unwrap();
            assert_eq!(asked("password").await.as_deref(), Ok(SECRET));
            acme.variable(&own, secret("changed")).await.unwrap();
            assert_eq!(asked("password").await.as_deref(), Ok("changed"));
            let over = format!("{guest}/greeting");
            acme.variable(&over, plain("my own")).await.unwrap();
            assert_eq!(asked("greeting").await.as_deref(), Ok("my own"));
            acme.delete_variable(&over).await.unwrap();
            assert_eq!(asked("greeting").await.as_deref(), Ok("hello"));
            acme.grants(guest, json!({})).await.unwrap();
            undefined(asked("greeting").await, "was not granted to module");
            acme.delete_variable("greeting").await.unwrap();
            undefined(asked("greeting").await, "there is no variable");
            for name in ["Greeting", "spin5-keeps/password"] {
                let said = asked(name).await.unwrap_err();
                assert!(said.contains("InvalidName"), "{said}");
            }
        }
        // Another module's own are none of this one's.
        let said = read(&edge, "reads", "spin5-keeps", "other").await;
        acme.variable("spin7-keeps/other", plain("7"))
            .await
            .unwrap();
        assert_eq!(read(&edge, "reads", "spin5-keeps", "other").await, said);
        assert_eq!(
            read(&edge, "stranger", "spin5-keeps", "password").await,
            Err(r#"Error::Undefined("there is no variable \"password\"")"#.to_owned())
        );
    });
}

/// One guest has the draft of 2024-09-27, the other the release candidate.
#[test]
fn wasi_config_gives_one_and_all_of_what_a_guest_may_read_in_both_drafts() {
    run(async {
        let edge = NODE.edge().await;
        for (name, guest) in ["draft", "candidate"].into_iter().zip(GUESTS) {
            let acme = edge.tenant(name).await;
            acme.guest(guest).await;
            let asked = async |rest: &str| told(&edge, &format!("{guest}.{name}.test{rest}")).await;
            assert_eq!(asked("/configs").await.as_deref(), Ok(""));
            assert_eq!(asked("/config?key=a").await, Err("none".to_owned()));
            for (id, write) in [
                ("a", plain("the tenant's")),
                ("b", plain("the tenant's, which the module's own hides")),
                ("c", plain("not granted")),
                (&*format!("{guest}/b"), secret(SECRET)),
                (&*format!("{guest}/d"), plain("")),
            ] {
                acme.variable(id, write).await.unwrap();
            }
            let granted = json!({"variables": ["a", "b", "absent"]});
            acme.grants(guest, granted).await.unwrap();
            let all = format!("a=the tenant's\nb={SECRET}\nd=");
            assert_eq!(asked("/configs").await, Ok(all));
            assert_eq!(asked("/config?key=a").await.as_deref(), Ok("the tenant's"));
            assert_eq!(asked("/config?key=b").await.as_deref(), Ok(SECRET));
            assert_eq!(asked("/config?key=d").await.as_deref(), Ok(""));
            // What no variable can be called is absent, and no error.
            for key in ["absent", "", "No.Name", &format!("{guest}/b")] {
                let said = asked(&format!("/config?key={key}")).await;
                assert_eq!(said, Err("none".to_owned()), "{key}");
            }
            let said = asked("/config?key=c").await.unwrap_err();
            assert!(
                said.contains("Upstream") && said.contains("was not granted"),
                "{said}"
            );
            acme.limit(json!({"key_value_calls_per_s_max": 0})).await;
            for rest in ["/configs", "/config?key=a", "/variable?key=a"] {
                let said = asked(rest).await.unwrap_err();
                assert!(said.contains("more calls for variables than"), "{said}");
            }
        }
    });
}

/// Every file under a folder that has these bytes.
fn files_with(folder: &Path, bytes: &[u8]) -> Vec<String> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap().flatten() {
        let path = entry.path();
        if path.is_dir() {
            found.extend(files_with(&path, bytes));
        } else if let Ok(content) = std::fs::read(&path)
            && content.windows(bytes.len()).any(|window| window == bytes)
        {
            found.push(path.display().to_string());
        }
    }
    found
}

#[test]
fn a_secret_is_in_no_answer_no_log_and_no_file() {
    run(async {
        let mut edge = TestEdge::start().await;
        let acme = edge.tenant("acme").await;
        acme.guest("spin5-keeps").await;
        acme.variable("seen", plain("plain-text-of-a-variable"))
            .await
            .unwrap();
        for id in ["password", "spin5-keeps/password"] {
            let put = acme.variable(id, secret(SECRET)).await.unwrap();
            assert_eq!((put.secret, put.value), (true, None));
            // Written over, it is in what the change was as well.
            acme.variable(id, secret(SECRET)).await.unwrap();
        }
        let granted = json!({"variables": ["password", "seen"]});
        acme.grants("spin5-keeps", granted).await.unwrap();
        assert_eq!(
            read(&edge, "acme", "spin5-keeps", "password")
                .await
                .as_deref(),
            Ok(SECRET)
        );
        // Refused with the value at hand: too long, and no text.
        let long = acme.variable("long", secret(&SECRET.repeat(1000))).await;
        assert!(!format!("{:?}", long.unwrap_err()).contains(SECRET));
        let token = edge.token(&[control_api::auth::Scope::NodeAdmin], None);
        let fields = [
            ("authorization", &*format!("Bearer {token}")),
            ("content-type", "application/json"),
        ];
        let of = "/v1/tenants/acme/variables";
        let body = format!(r#"{{"value": ["{SECRET}"], "secret": true}}"#);
        let answer = edge
            .admin_ask("PUT", &format!("{of}/wrong"), &fields, body.as_bytes())
            .await;
        assert_eq!(answer.status(), 422);
        assert!(!answer.text().contains(SECRET), "{}", answer.text());
        let mut said = String::new();
        for path in [
            of,
            &format!("{of}/password"),
            &format!("{of}/spin5-keeps%2Fpassword"),
            "/v1/tenants/acme/modules/spin5-keeps",
            "/v1/tenants/acme/usage",
            "/v1/tenants/acme/logs",
            "/v1/audit",
            "/v1/status",
            "/metrics",
        ] {
            let answer = edge.admin_ask("GET", path, &fields, b"").await;
            assert_eq!(answer.status(), 200, "{path}");
            assert!(!answer.text().contains(SECRET), "{path}");
            said += &answer.text();
        }
        // What is looked for is where it would be: the list and the audit log have what is plain.
        assert_eq!(said.matches("plain-text-of-a-variable").count(), 2);
        assert!(said.contains("variable.put"), "{said}");
        assert!(edge.stop().await.success());
        assert!(!edge.log().contains(SECRET));
        let home = edge.data();
        assert_eq!(files_with(&home, SECRET.as_bytes()), [""; 0]);
        assert!(!files_with(&home, b"plain-text-of-a-variable").is_empty());
        // The key is for this user alone.
        let key = std::fs::metadata(home.join("keys/variables.key")).unwrap();
        let mode = std::os::unix::fs::PermissionsExt::mode(&key.permissions());
        assert_eq!(mode & 0o777, 0o600);
    });
}

#[test]
fn variables_survive_kill_9_and_the_loss_of_the_database() {
    run(async {
        let mut edge = TestEdge::start().await;
        let acme = edge.tenant("acme").await;
        acme.guest("spin5-keeps").await;
        for (id, write) in [
            ("spin5-keeps/plain", plain("hello")),
            ("spin5-keeps/password", secret(SECRET)),
        ] {
            acme.variable(id, write).await.unwrap();
        }
        let both = async |edge: &TestEdge| {
            for (name, value) in [("plain", "hello"), ("password", SECRET)] {
                let said = read(edge, "acme", "spin5-keeps", name).await;
                assert_eq!(said.as_deref(), Ok(value));
            }
        };
        both(&edge).await;
        edge.kill_worker().await;
        both(&edge).await;
        edge.kill_control();
        edge.control().wait().await;
        edge.start_again().await;
        both(&edge).await;
        assert!(edge.stop().await.success());
        std::fs::remove_dir_all(edge.data().join("store/sled")).unwrap();
        edge.start_again().await;
        both(&edge).await;
        // Without its key a secret is lost, and said to be; what is plain is not.
        assert!(edge.stop().await.success());
        std::fs::remove_file(edge.data().join("keys/variables.key")).unwrap();
        edge.start_again().await;
        assert!(edge.log().contains("a secret cannot be read: set it again"));
        let plain = read(&edge, "acme", "spin5-keeps", "plain").await;
        assert_eq!(plain.as_deref(), Ok("hello"));
        let said = read(&edge, "acme", "spin5-keeps", "password").await;
        let said = said.unwrap_err();
        assert!(
            said.contains("Provider") && said.contains("cannot be read"),
            "{said}"
        );
        let said = told(&edge, "spin5-keeps.acme.test/configs").await;
        assert!(said.unwrap_err().contains("Io("));
        let acme = acme.through(edge.client());
        acme.variable("spin5-keeps/password", secret(SECRET))
            .await
            .unwrap();
        both(&edge).await;
    });
}

#[test]
fn variables_go_with_their_module_and_their_tenant() {
    run(async {
        let edge = NODE.edge().await;
        let gone = edge.tenant("leaving").await;
        let place = "spin5-keeps.leaving.test/";
        gone.guest("spin5-keeps").await;
        gone.version("other", 1, component("hello")).await;
        for id in ["mine", "other/kept", "spin5-keeps/gone"] {
            gone.variable(id, secret(SECRET)).await.unwrap();
        }
        let absent = gone.variable("absent/a", plain("")).await;
        assert_eq!(refusal(absent), "module-not-found");
        gone.unroute(place).await.unwrap();
        gone.delete_module("spin5-keeps").await.unwrap();
        assert_eq!(gone.variables().await, ["mine", "other/kept"]);
        gone.version("spin5-keeps", 2, component("spin5-keeps"))
            .await;
        gone.route(place, "spin5-keeps", None).await.unwrap();
        let said = read(&edge, "leaving", "spin5-keeps", "gone").await;
        assert!(said.unwrap_err().contains("there is no variable"));
        assert_eq!(gone.usage().await.variables, 2);

        let client = edge.client();
        client
            .delete_tenant(gone.name(), Precondition::None)
            .await
            .unwrap();
        let again = edge.tenant("leaving").await;
        assert_eq!(again.variables().await, [""; 0]);
        assert_eq!(again.usage().await.variables, 0);
    });
}

#[test]
fn as_many_variables_as_the_limit_says_and_none_by_a_deploy_token() {
    run(async {
        let edge = NODE.edge().await;
        let acme = edge
            .tenant_limited("counted", json!({"variables_max": 2}))
            .await;
        acme.guest("spin5-keeps").await;
        acme.variable("one", plain("1")).await.unwrap();
        acme.variable("spin5-keeps/two", plain("2")).await.unwrap();
        assert_eq!(
            refusal(acme.variable("three", plain("3")).await),
            "limit-reached"
        );
        acme.variable("one", plain(&"v".repeat(16 << 10)))
            .await
            .unwrap();
        let long = acme.variable("one", plain(&"v".repeat(16_385))).await;
        let said = long.unwrap_err();
        assert!(said.to_string().contains("allowed: 16384"), "{said}");
        assert_eq!(acme.variables().await, ["one", "spin5-keeps/two"]);
        let forbidden = |outcome: Result<_, ClientError>| {
            assert_eq!(refusal(outcome), "scope-insufficient");
        };
        for scope in [
            control_api::auth::Scope::Deploy,
            control_api::auth::Scope::Read,
        ] {
            let client = edge.client_as(&[scope], Some("counted"));
            let deploying = acme.through(&client);
            forbidden(deploying.variable("one", plain("1")).await.map(drop));
            forbidden(deploying.delete_variable("one").await);
        }
    });
}
