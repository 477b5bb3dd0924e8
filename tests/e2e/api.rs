//! Does the API keep what docs/api.md promises to every client? Repeated requests, pages, filters, namespaces, errors with
//! details, and an event log that can be resumed, over plain gRPC.

use std::future::Future;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use gantry_api::connect::{Address, connect};
use gantry_api::containers::v1 as containers;
use gantry_api::containers::v1::container_service_client::ContainerServiceClient;
use gantry_api::events::v1 as events;
use gantry_api::events::v1::event_service_client::EventServiceClient;
use gantry_api::events::v1::watch_events_response::Message;
use gantry_api::status::ApiError;
use gantry_tests::daemon::Daemon;
use gantry_tests::trial::World;
use gantry_tests::wait::seconds;
use tonic::transport::Channel;

tests![
    a_repeated_request_does_its_work_once,
    a_repeated_request_is_remembered_by_the_next_daemon,
    a_list_comes_in_pages_that_are_whole,
    a_list_is_filtered,
    namespaces_do_not_see_each_other,
    an_error_has_a_reason_a_resource_and_a_hint,
    events_tell_a_containers_life_in_order_and_resume,
    a_request_that_is_too_large_is_refused,
    an_aborted_client_leaves_nothing_open,
    a_restart_goes_on_when_its_caller_gives_up,
];

fn with_channel<F: Future<Output = Result<()>>>(
    daemon: &Daemon,
    test: impl FnOnce(Channel) -> F,
) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let channel = connect(&Address::Unix(daemon.socket()), None).await?;
        tokio::time::timeout(seconds(60), test(channel)).await.context("the calls take too long")?
    })
}

fn create(image: &str, name: &str, request_id: &str) -> containers::CreateContainerRequest {
    let process = containers::ProcessOptions { args: vec!["true".into()], ..Default::default() };
    containers::CreateContainerRequest {
        image: image.into(),
        name: name.into(),
        request_id: request_id.into(),
        options: Some(containers::ContainerOptions { process: Some(process), ..Default::default() }),
        ..Default::default()
    }
}

fn a_repeated_request_does_its_work_once(world: &World) -> Result<()> {
    let (daemon, image) = world.daemon_with_busybox()?;
    with_channel(&daemon, |channel| async {
        let client = ContainerServiceClient::new(channel);
        let mut calls = Vec::new();
        for _ in 0..4 {
            let mut client = client.clone();
            let request = create(&image, "", "the-same");
            calls.push(tokio::spawn(async move { client.create_container(request).await }));
        }
        let mut ids = std::collections::BTreeSet::new();
        for call in calls {
            ids.insert(call.await??.into_inner().container.context("a container")?.id);
        }
        ensure!(ids.len() == 1, "{ids:?}");
        Ok(())
    })?;
    ensure!(daemon.ok(&["ps", "-aq"])?.lines().count() == 1);
    world.done(daemon);
    Ok(())
}

fn a_repeated_request_is_remembered_by_the_next_daemon(world: &World) -> Result<()> {
    let (mut daemon, image) = world.daemon_with_busybox()?;
    let mut ids = Vec::new();
    for _ in 0..2 {
        with_channel(&daemon, |channel| async {
            let request = create(&image, "once", "across-daemons");
            let answer = ContainerServiceClient::new(channel).create_container(request).await?.into_inner();
            ids.push(answer.container.context("a container")?.id);
            Ok(())
        })?;
        daemon.kill()?;
        daemon.restart()?;
    }
    ensure!(ids[0] == ids[1], "{ids:?}");
    world.done(daemon);
    Ok(())
}

fn a_list_comes_in_pages_that_are_whole(world: &World) -> Result<()> {
    const COUNT: usize = 7;
    let (daemon, image) = world.daemon_with_busybox()?;
    with_channel(&daemon, |channel| async {
        let mut client = ContainerServiceClient::new(channel);
        for number in 0..COUNT {
            client.create_container(create(&image, &format!("c{number}"), "")).await?;
        }
        let mut names = Vec::new();
        let mut page_token = String::new();
        loop {
            let request =
                containers::ListContainersRequest { page_size: 3, page_token, ..Default::default() };
            let page = client.list_containers(request).await?.into_inner();
            ensure!(page.containers.len() <= 3, "a page has {}", page.containers.len());
            names.extend(page.containers.into_iter().map(|container| container.name));
            page_token = page.next_page_token;
            if page_token.is_empty() {
                break;
            }
        }
        let expected: Vec<String> = (0..COUNT).rev().map(|number| format!("c{number}")).collect();
        ensure!(names == expected, "{names:?}");
        let bad = containers::ListContainersRequest { page_token: "nonsense".into(), ..Default::default() };
        let refused = client.list_containers(bad).await.err().context("a made-up token is refused")?;
        ensure!(refused.code() == tonic::Code::InvalidArgument, "{refused:?}");
        Ok(())
    })?;
    world.done(daemon);
    Ok(())
}

fn a_list_is_filtered(world: &World) -> Result<()> {
    let (daemon, image) = world.daemon_with_busybox()?;
    daemon.ok(&["create", "--name", "front", "--label", "tier=web", &image])?;
    daemon.ok(&["create", "--name", "back", "--label", "tier=db", &image])?;
    with_channel(&daemon, |channel| async {
        let mut client = ContainerServiceClient::new(channel);
        for (filter, expected) in
            [("name==front", "front"), ("labels.tier==db", "back"), ("labels.tier!=db", "front")]
        {
            let request = containers::ListContainersRequest { filter: filter.into(), ..Default::default() };
            let found = client.list_containers(request).await?.into_inner().containers;
            let names: Vec<&str> = found.iter().map(|container| container.name.as_str()).collect();
            ensure!(names == [expected], "{filter} found {names:?}");
        }
        let request =
            containers::ListContainersRequest { filter: "nonsense==1".into(), ..Default::default() };
        let refused = client.list_containers(request).await.err().context("an unknown field is refused")?;
        ensure!(
            refused.code() == tonic::Code::InvalidArgument && refused.message().contains("nonsense"),
            "{refused:?}"
        );
        Ok(())
    })?;
    world.done(daemon);
    Ok(())
}

fn namespaces_do_not_see_each_other(world: &World) -> Result<()> {
    let (daemon, image) = world.daemon_with_busybox()?;
    with_channel(&daemon, |channel| async {
        let mut client = ContainerServiceClient::new(channel);
        client.create_container(create(&image, "mine", "")).await?;
        let other = containers::ListContainersRequest { namespace: "other".into(), ..Default::default() };
        ensure!(client.list_containers(other).await?.into_inner().containers.is_empty());
        let get = containers::GetContainerRequest { namespace: "other".into(), container: "mine".into() };
        let refused =
            client.get_container(get).await.err().context("another tenant's container is not found")?;
        ensure!(refused.code() == tonic::Code::NotFound, "{refused:?}");
        Ok(())
    })?;
    world.done(daemon);
    Ok(())
}

fn an_error_has_a_reason_a_resource_and_a_hint(world: &World) -> Result<()> {
    let (daemon, _) = world.daemon_with_busybox()?;
    with_channel(&daemon, |channel| async {
        let request = create("nowhere.invalid/image:1", "", "");
        let status =
            ContainerServiceClient::new(channel).create_container(request).await.err().context("an error")?;
        ensure!(status.code() == tonic::Code::NotFound, "{status:?}");
        let error = ApiError::from(status);
        ensure!(error.reason == "IMAGE_NOT_FOUND", "{error:?}");
        ensure!(error.hint.as_ref().is_some_and(|hint| hint.contains("pull")), "{error:?}");
        Ok(())
    })?;
    world.done(daemon);
    Ok(())
}

fn events_tell_a_containers_life_in_order_and_resume(world: &World) -> Result<()> {
    use events::EventKind::{ContainerCreate, ContainerExit, ContainerRemove, ContainerStart};
    let (mut daemon, image) = world.daemon_with_busybox()?;
    let mut middle = 0;
    with_channel(&daemon, |channel| async {
        let request = events::WatchEventsRequest::default();
        let mut stream = EventServiceClient::new(channel).watch_events(request).await?.into_inner();
        let first = stream.message().await?.and_then(|answer| answer.message);
        ensure!(matches!(first, Some(Message::Started(_))), "{first:?}");
        daemon.ok(&["run", "--rm", "--name", "told", &image, "true"])?;
        let mut kinds = Vec::new();
        while kinds.len() < 4 {
            let answer = stream.message().await?.context("the stream goes on")?;
            if let Some(Message::Event(event)) = answer.message {
                ensure!(event.name == "told", "{event:?}");
                kinds.push(event.kind());
                if event.kind() == ContainerStart {
                    middle = event.revision;
                }
            }
        }
        ensure!(kinds == [ContainerCreate, ContainerStart, ContainerExit, ContainerRemove], "{kinds:?}");
        Ok(())
    })?;
    // The next daemon has the same log, and goes on after a place in it.
    daemon.kill()?;
    daemon.restart()?;
    with_channel(&daemon, |channel| async {
        let request = events::WatchEventsRequest { after_revision: Some(middle), ..Default::default() };
        let mut stream = EventServiceClient::new(channel).watch_events(request).await?.into_inner();
        let mut kinds = Vec::new();
        while kinds.len() < 2 {
            if let Some(Message::Event(event)) =
                stream.message().await?.context("the stream goes on")?.message
            {
                kinds.push(event.kind());
            }
        }
        ensure!(kinds == [ContainerExit, ContainerRemove], "{kinds:?}");
        Ok(())
    })?;
    world.done(daemon);
    Ok(())
}

fn a_request_that_is_too_large_is_refused(world: &World) -> Result<()> {
    let (daemon, image) = world.daemon_with_busybox()?;
    with_channel(&daemon, |channel| async {
        let mut client = ContainerServiceClient::new(channel);
        let mut request = create(&image, "", "");
        request.labels.insert("key".into(), "x".repeat(5000));
        let refused = client.create_container(request).await.err().context("a long label is refused")?;
        ensure!(refused.code() == tonic::Code::InvalidArgument, "{refused:?}");
        let mut request = create(&image, "", "");
        request.labels.insert("key".into(), "x".repeat(8 << 20));
        let refused = client.create_container(request).await.err().context("a huge message is refused")?;
        ensure!(refused.code() != tonic::Code::Internal, "{refused:?}");
        client.list_containers(containers::ListContainersRequest::default()).await?;
        Ok(())
    })?;
    world.done(daemon);
    Ok(())
}

fn an_aborted_client_leaves_nothing_open(world: &World) -> Result<()> {
    let (daemon, image) = world.daemon_with_busybox()?;
    let id = daemon.ok(&["run", "-d", "-i", &image, "cat"])?;
    let pid = daemon.pid()?;
    let open = || anyhow::Ok(std::fs::read_dir(format!("/proc/{pid}/fd"))?.count());
    let attach_and_abort = || -> Result<()> {
        let mut client = daemon.begin(&["attach", &id])?;
        client.say("hello\n")?;
        client.line_with("hello")?;
        Ok(())
    };
    attach_and_abort()?;
    let before = open()?;
    for _ in 0..20 {
        attach_and_abort()?;
    }
    gantry_tests::wait::until_true("no descriptor to be left", seconds(10), || Ok(open()? <= before + 2))?;
    world.done(daemon);
    Ok(())
}

fn a_restart_goes_on_when_its_caller_gives_up(world: &World) -> Result<()> {
    let (daemon, image) = world.daemon_with_busybox()?;
    // It does not end by the stop signal, so that the caller is gone before the container is stopped.
    let id = daemon.ok(&["run", "-d", &image, "sh", "-c", "trap '' TERM; while :; do sleep 1; done"])?;
    let before = daemon.container_pid(&id)?;
    with_channel(&daemon, |channel| async {
        let mut client = ContainerServiceClient::new(channel);
        let request = containers::RestartContainerRequest {
            container: id.clone(),
            timeout_ms: Some(1000),
            request_id: "given-up".into(),
            ..Default::default()
        };
        let first = client.restart_container(request.clone());
        let given_up = tokio::time::timeout(Duration::from_millis(200), first).await;
        ensure!(given_up.is_err(), "the restart was answered before its stop could end");
        // The same again joins the first, which nobody waits for any more.
        client.restart_container(request).await?;
        Ok(())
    })?;
    let after = daemon.container_pid(&id)?;
    ensure!(after != before && after != 0, "{before} {after}");
    let events = ["events", "--since", "1h", "--until", "0s", "--format", "{{.Action}}"];
    let starts = daemon.ok(&events)?.lines().filter(|action| *action == "start").count();
    ensure!(starts == 2, "it was started {starts} times");
    world.done(daemon);
    Ok(())
}
