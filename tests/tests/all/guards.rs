//! What a node refuses to run with, and whom it does not listen to: keys that others can read, an office port that other
//! machines can reach, another user at the admin socket.

use std::{fs, os::unix::fs::PermissionsExt, path::Path, process::Command};

use crate::support::{Place, exit, http::Call, peer::keys_of, said, skip};

fn set_mode(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_runs_with_its_own_keys_and_listens_to_its_own_users_alone() {
    let place = Place::civil_affairs_and_housing().await;
    Box::pin(another_user_is_not_listened_to_at_the_admin_socket(&place)).await;
    // Each of these ends what it started with.
    Box::pin(a_key_that_others_can_read_is_refused_by_name(&place)).await;
    Box::pin(the_office_port_speaks_tls_alone_beyond_this_machine(&place)).await;
}

async fn a_key_that_others_can_read_is_refused_by_name(place: &Place) {
    let node = place.town.node("housing");
    node.stop().await.unwrap();
    for name in ["node.key", "department.key", "tls.key"] {
        let key = keys_of(node).join(name);
        let before = fs::metadata(&key).unwrap().permissions().mode();
        for mode in [0o644, 0o640, 0o604] {
            set_mode(&key, mode);
            let refused = node.start().await.unwrap_err().to_string();
            assert!(refused.contains(name) && refused.contains("can be read by others"), "{name} {mode:o}: {refused}");
            assert!(refused.contains("chmod"), "it says what to do: {refused}");
        }
        set_mode(&key, before);
    }
    node.start().await.unwrap();
    place.town.registry().stop().await.unwrap();
    let keys: Vec<_> = fs::read_dir(place.town.registry().dir().join("keys")).unwrap().flatten().collect();
    let key = keys.iter().map(fs::DirEntry::path).find(|path| path.ends_with("log.key")).expect("the log's key");
    set_mode(&key, 0o644);
    let refused = place.town.registry().start().await.unwrap_err().to_string();
    assert!(refused.contains("log.key can be read by others"), "{refused}");
}

async fn the_office_port_speaks_tls_alone_beyond_this_machine(place: &Place) {
    let node = place.town.node("housing");
    node.stop().await.unwrap();
    let address = node.office_address();
    let port = address.rsplit_once(':').unwrap().1.to_owned();
    let open = format!("office_listen = \"0.0.0.0:{port}\"");
    node.edit_config(|text| text.replace(&format!("office_listen = \"{address}\""), &open)).unwrap();
    node.start().await.unwrap();
    // On this machine too: what travels elsewhere in the clear is not begun here.
    assert!(Call::new("GET", &format!("http://127.0.0.1:{port}/docs")).try_send().is_err());
    let page = Call::new("GET", &format!("https://127.0.0.1:{port}/docs")).arguments(&["--insecure"]).send();
    assert_eq!(page.status, 200);
    node.stop().await.unwrap();
    node.edit_config(|text| format!("{text}\n[office]\ntls = \"never\"\n")).unwrap();
    let refused = node.start().await.unwrap_err().to_string();
    assert!(refused.contains("always") && refused.contains("elsewhere"), "{refused}");
}

async fn another_user_is_not_listened_to_at_the_admin_socket(place: &Place) {
    if !rustix::process::geteuid().is_root() {
        return skip("admin socket of another user", "becoming another user needs root");
    }
    let node = place.town.node("housing");
    assert_eq!(fs::metadata(node.dir().join("admin.sock")).unwrap().permissions().mode() & 0o777, 0o600);
    // The program where another user can run it.
    let programs = tempfile::tempdir().unwrap();
    set_mode(programs.path(), 0o755);
    let program = programs.path().join("exchange-node");
    fs::copy(place.town.programs().exchange_node(), &program).unwrap();
    let as_nobody = |arguments: &[&str]| {
        Command::new("setpriv")
            .args(["--reuid=65534", "--regid=65534", "--clear-groups"])
            .arg(&program)
            .args(arguments)
            .env("EXCHANGE_DIR", node.dir())
            .output()
            .expect("setpriv runs")
    };
    let shut = as_nobody(&["status"]);
    assert_ne!(exit(&shut), 0, "{}", said(&shut));
    // Even where somebody has opened every door of the file system, the socket asks who is there.
    for folder in [place.dir(), place.town.dir(), node.dir()] {
        set_mode(folder, 0o755);
    }
    set_mode(&node.dir().join("admin.sock"), 0o666);
    let shut = as_nobody(&["status"]);
    assert_ne!(exit(&shut), 0, "{}", said(&shut));
    assert!(!said(&shut).contains("evidence"), "{}", said(&shut));
    let own = place.cli("housing", &["status"]).await;
    assert_eq!(exit(&own), 0, "{}", said(&own));
    let log = fs::read_to_string(node.log()).unwrap();
    assert!(log.contains("another user's process tried the admin socket"), "{log}");
    for folder in [place.dir(), place.town.dir(), node.dir()] {
        set_mode(folder, 0o700);
    }
}
