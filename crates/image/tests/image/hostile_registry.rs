//! Harness G1: registries that lie, stall, or want to be told secrets that are not theirs.

use std::io::Read as _;
use std::net::TcpListener;
use std::sync::{Arc, OnceLock};

use gantry_image::registry::{Credentials, RegistryOptions};
use gantry_types::{Class, Classified as _};

use crate::archive::{Archive, gzip};
use crate::pull::{Machine, options, serve};
use crate::sample::{INDEX_TYPE, MANIFEST_TYPE, Sample, digest};
use crate::scripted::{Answer, Server, ok, status};

fn me() -> Credentials {
    Credentials { username: "me".into(), password: "secret".into(), identity_token: None }
}

/// Pulls and says how it failed.
async fn class_of(server: &Server, name: &str) -> (Class, String) {
    let machine = Machine::new(options());
    let error = machine.pull(&format!("{}/{name}", server.host())).await.expect_err("refused");
    assert_eq!(machine.folders(), 0, "nothing of it stays");
    (error.class(), format!("{error:?}"))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_redirect_carries_no_authorization_to_another_host() {
    let sample = Sample::small();
    let (stored, front) = (sample.clone(), sample.clone());
    let storage = Server::start(move |asked| serve(&stored, asked));
    let there = storage.host();
    let server = Server::start(move |asked| {
        if asked.header("authorization").is_none() {
            return Answer::Full(401, vec![("www-authenticate", "Basic realm=\"x\"".into())], Vec::new());
        }
        let target = asked.line.split(' ').nth(1).unwrap_or_default();
        if target.contains("/blobs/") {
            return Answer::Full(307, vec![("location", format!("http://{there}{target}"))], Vec::new());
        }
        serve(&front, asked)
    });
    let machine = Machine::new(options());
    machine.pull_as(&format!("{}/app:v1", server.host()), Some(&me())).await.expect("pulls");
    assert!(storage.count("/blobs/") >= 3);
    assert!(storage.asked().iter().all(|asked| asked.header("authorization").is_none()));
    assert!(server.asked().iter().any(|asked| asked.header("authorization").is_some()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_challenge_of_a_redirects_target_is_not_answered() {
    let sample = Sample::small();
    let evil = Server::start(|_| {
        Answer::Full(401, vec![("www-authenticate", "Basic realm=\"x\"".into())], Vec::new())
    });
    let there = evil.host();
    let server = Server::start(move |asked| {
        if asked.line.contains("/blobs/") {
            return Answer::Full(302, vec![("location", format!("http://{there}/blob"))], Vec::new());
        }
        serve(&sample, asked)
    });
    let machine = Machine::new(options());
    let name = format!("{}/app:v1", server.host());
    let error = machine.pull_as(&name, Some(&me())).await.expect_err("refused");
    assert_eq!(error.class(), Class::Unauthenticated);
    assert!(evil.asked().iter().all(|asked| asked.header("authorization").is_none()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_realm_on_another_host_gets_no_credentials_unless_trusted() {
    let sample = Sample::small();
    let realm = Server::start(|asked| match asked.header("authorization") {
        Some(_) => ok("application/json", br#"{"token":"t0ken"}"#),
        None => status(401),
    });
    let url = format!("http://{}/token", realm.host());
    let server = Server::start(move |asked| match asked.header("authorization") {
        Some("Bearer t0ken") => serve(&sample, asked),
        _ => Answer::Full(
            401,
            vec![("www-authenticate", format!("Bearer realm=\"{url}\",service=\"s\""))],
            Vec::new(),
        ),
    });
    let name = format!("{}/app:v1", server.host());
    let error = Machine::new(options()).pull_as(&name, Some(&me())).await.expect_err("refused");
    assert_eq!(error.reason(), "REGISTRY_REALM_REFUSED");
    assert!(realm.asked().iter().all(|asked| asked.header("authorization").is_none()));
    assert!(realm.count("scope=repository%3Aapp%3Apull") > 0);

    let trusting = RegistryOptions { trusted_realms: [realm.host()].into(), ..options() };
    Machine::new(trusting).pull_as(&name, Some(&me())).await.expect("pulls");
    assert!(realm.asked().iter().any(|asked| asked.header("authorization").is_some()));
}

#[tokio::test(flavor = "multi_thread")]
async fn anonymous_and_own_tokens_work() {
    let sample = Sample::small();
    let own: Arc<OnceLock<String>> = Arc::default();
    let address = Arc::clone(&own);
    let server = Server::start(move |asked| {
        if asked.line.contains("/token") {
            return ok("application/json", br#"{"access_token":"abc"}"#);
        }
        if asked.header("authorization") == Some("Bearer abc") {
            return serve(&sample, asked);
        }
        let realm = format!("Bearer realm=\"http://{}/token\"", address.get().expect("set"));
        Answer::Full(401, vec![("www-authenticate", realm)], Vec::new())
    });
    own.set(server.host()).expect("once");
    let name = format!("{}/app:v1", server.host());
    Machine::new(options()).pull(&name).await.expect("pulls without credentials");
    assert!(
        server
            .asked()
            .iter()
            .filter(|a| a.line.contains("/token"))
            .all(|a| a.header("authorization").is_none())
    );
    Machine::new(options()).pull_as(&name, Some(&me())).await.expect("pulls with credentials");
    assert!(server.asked().iter().any(|a| a.line.contains("/token") && a.header("authorization").is_some()));
}

#[tokio::test(flavor = "multi_thread")]
async fn https_is_never_given_up_for_http() {
    // A host that is neither loopback nor marked insecure: its name resolves nowhere, but if it did, this listener says
    // whether the first bytes were TLS. Loopback is made to need TLS by going through the HTTPS side of a redirect.
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("an address");
    let heard = std::thread::spawn(move || {
        let mut first = [0; 1];
        let (mut stream, _) = listener.accept().expect("a connection");
        stream.read_exact(&mut first).expect("a byte");
        first[0]
    });
    let server = Server::start(move |_| {
        Answer::Full(307, vec![("location", format!("https://{address}/v2/app/manifests/v1"))], Vec::new())
    });
    let mut once = options();
    once.timeouts.retries_max = 0;
    let machine = Machine::new(once);
    let error = machine.pull(&format!("{}/app:v1", server.host())).await.expect_err("no TLS there");
    assert_eq!(error.class(), Class::Unavailable, "{error:?}");
    assert_eq!(heard.join().expect("no panic"), 0x16, "the first byte is a TLS handshake's");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_redirect_to_plain_http_elsewhere_is_not_followed() {
    let server = Server::start(|_| {
        Answer::Full(307, vec![("location", "http://192.0.2.1/v2/app/x".into())], Vec::new())
    });
    assert_eq!(class_of(&server, "app:v1").await.0, Class::FailedPrecondition);
    let round = Server::start(|_| Answer::Full(307, vec![("location", "/v2/again".into())], Vec::new()));
    assert_eq!(class_of(&round, "app:v1").await.0, Class::FailedPrecondition);
    assert!(round.asked().len() <= 6);
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_bytes_are_refused_at_every_place() {
    let sample = Sample::small();
    let manifest_digest = digest(&sample.manifest).to_string();
    let bad = |what: &'static str| {
        let (sample, whole) = (sample.clone(), sample.manifest.clone());
        let (layer, config) = (digest(&sample.layers[1]).to_string(), digest(&sample.config).to_string());
        Server::start(move |asked| {
            let hit = match what {
                "manifest" => asked.line.contains("/manifests/"),
                "config" => asked.line.contains(&config),
                _ => asked.line.contains(&layer),
            };
            match (hit, what) {
                (false, _) => serve(&sample, asked),
                (true, "manifest") => ok(MANIFEST_TYPE, &[&whole[..], b" "].concat()),
                (true, "config") => ok("x", &vec![b'x'; sample.config.len()]),
                (true, "layer") => {
                    let mut bytes = sample.layers[1].clone();
                    let last = bytes.len() - 1;
                    bytes[last] ^= 1;
                    ok("x", &bytes)
                }
                (true, "short") => ok("x", &sample.layers[1][..1000]),
                (true, _) => ok("x", &[&sample.layers[1][..], b"more"].concat()),
            }
        })
    };
    let pinned = format!("app@{manifest_digest}");
    for (what, name) in [
        ("manifest", pinned.as_str()),
        ("config", "app:v1"),
        ("layer", "app:v1"),
        ("short", "app:v1"),
        ("long", "app:v1"),
    ] {
        let server = bad(what);
        let machine = Machine::new(options());
        let error = machine.pull(&format!("{}/{name}", server.host())).await.expect_err(what);
        assert_eq!(error.class(), Class::DataLoss, "{what}: {error:?}");
        assert!(machine.content.size(&digest(&sample.layers[1])).expect("looks").is_none(), "{what}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_layer_that_is_not_the_configs_is_refused() {
    let mut sample = Sample::small();
    let other = gzip(&Archive::default().file("other", "x").finish());
    let text = String::from_utf8(sample.manifest).expect("JSON");
    let old = format!("\"{}\",\"size\":{}", digest(&sample.layers[0]), sample.layers[0].len());
    let new = format!("\"{}\",\"size\":{}", digest(&other), other.len());
    assert!(text.contains(&old));
    sample.manifest = text.replace(&old, &new).into_bytes();
    sample.layers = vec![other];
    let server = Server::start(move |asked| serve(&sample, asked));
    let machine = Machine::new(options());
    let error = machine.pull(&format!("{}/app:v1", server.host())).await.expect_err("refused");
    assert!(["DIFF_ID_MISMATCH", "IMAGE_NOT_IN_REGISTRY"].contains(&error.reason()), "{error:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn documents_that_could_be_two_things_are_refused() {
    let sample = Sample::small();
    let text = String::from_utf8(sample.manifest.clone()).expect("JSON");
    let both = text.replacen('{', r#"{"manifests":[],"#, 1);
    let disagreeing = sample.manifest.clone();
    for (kind, body) in [
        (MANIFEST_TYPE, both.clone().into_bytes()),
        (INDEX_TYPE, both.into_bytes()),
        (INDEX_TYPE, disagreeing.clone()),
        ("text/html", disagreeing),
        (MANIFEST_TYPE, b"{".to_vec()),
        (MANIFEST_TYPE, vec![b'['; 100_000]),
    ] {
        let server = Server::start(move |_| ok(kind, &body));
        assert_eq!(class_of(&server, "app:v1").await.0, Class::DataLoss);
    }
    let schema1 = Server::start(|_| {
        ok(
            "application/vnd.docker.distribution.manifest.v1+prettyjws",
            br#"{"schemaVersion":1,"fsLayers":[]}"#,
        )
    });
    assert_eq!(class_of(&schema1, "app:v1").await.0, Class::Unimplemented);
}

#[tokio::test(flavor = "multi_thread")]
async fn answers_without_end_are_cut_off() {
    let huge = Server::start(|_| ok(MANIFEST_TYPE, &vec![b' '; 5 << 20]));
    let (class, error) = class_of(&huge, "app:v1").await;
    assert!(class == Class::DataLoss && error.contains("TooLarge"), "{error}");
    let mut quick = options();
    (quick.timeouts.headers_ms, quick.timeouts.document_ms, quick.timeouts.progress_ms) = (200, 200, 200);
    quick.timeouts.retries_max = 1;
    let sample = Sample::small();
    let manifest = sample.manifest.clone();
    let dripping = Server::start(move |_| Answer::Drip(manifest.clone()));
    let silent = Server::start(|_| Answer::Silence);
    let slow_blob = Server::start(move |asked| {
        if asked.line.contains(&digest(&sample.layers[1]).to_string()) {
            return Answer::Drip(sample.layers[1].clone());
        }
        serve(&sample, asked)
    });
    for server in [dripping, silent, slow_blob] {
        let machine = Machine::new(quick.clone());
        let error = machine.pull(&format!("{}/app:v1", server.host())).await.expect_err("stalls");
        assert_eq!(error.class(), Class::DeadlineExceeded, "{error:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn refusals_say_what_they_are() {
    let body = |code: &str| format!(r#"{{"errors":[{{"code":"{code}","message":"no"}}]}}"#).into_bytes();
    for (status, code, class) in [
        (404, "MANIFEST_UNKNOWN", Class::NotFound),
        (404, "", Class::NotFound),
        (401, "UNAUTHORIZED", Class::Unauthenticated),
        (403, "DENIED", Class::PermissionDenied),
        (429, "TOOMANYREQUESTS", Class::Unavailable),
        (503, "", Class::Unavailable),
        (418, "", Class::FailedPrecondition),
    ] {
        let answer = Answer::Full(status, Vec::new(), body(code));
        let server = Server::start(move |_| answer.clone());
        assert_eq!(class_of(&server, "app:v1").await.0, class, "{status} {code}");
    }
    let nobody = TcpListener::bind("127.0.0.1:0").expect("a port").local_addr().expect("an address");
    let error = Machine::new(options()).pull(&format!("{nobody}/app:v1")).await.expect_err("nobody there");
    assert_eq!(error.class(), Class::Unavailable);
    assert!(error.hint().is_some());
}
