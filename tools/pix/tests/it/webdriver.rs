//! A browser, driven as WebDriver (W3C) says: chromedriver and JSON over loopback.

use std::path::{Path, PathBuf};
use std::process::{Command as Blocking, Stdio};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http_body_util::{BodyExt as _, Full};
use hyper::body::Bytes;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use pix_testkit::{eventually, free_port};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::process::{Child, Command};

/// A cold browser on a busy machine takes its time; a page does not.
const START_WITHIN: Duration = Duration::from_secs(90);
const PATIENCE: Duration = Duration::from_secs(20);

/// How WebDriver spells an element in JSON, and keys that are no characters.
const ELEMENT: &str = "element-6066-11e4-a52e-4f735466cecf";
pub(crate) const TAB: &str = "\u{E004}";
pub(crate) const ENTER: &str = "\u{E007}";

/// A headless Chromium and its driver; both end with it.
pub(crate) struct Browser {
    driver: Child,
    client: Client<HttpConnector, Full<Bytes>>,
    port: u16,
    session: String,
    screenshots: PathBuf,
    _folder: TempDir,
}

impl Drop for Browser {
    /// The driver leads a process group of its own, with the browser in it: both go, also when a test fails.
    fn drop(&mut self) {
        if let Some(leader) = self.driver.id() {
            let group = format!("-{leader}");
            drop(Blocking::new("kill").args(["-KILL", "--", &group]).status());
        }
    }
}

impl Browser {
    pub(crate) async fn start() -> Self {
        let [driver, chromium] = ["chromedriver", "chromium"].map(program);
        let folder = TempDir::with_prefix("pix-browser-").expect("a folder can be made");
        let port = free_port().expect("a port is free");
        let driver = Command::new(driver)
            .arg(format!("--port={port}"))
            .env("HOME", folder.path())
            .process_group(0)
            .kill_on_drop(true)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("chromedriver starts");
        let screenshots = match std::env::var_os("PIX_SCREENSHOTS") {
            Some(kept) => PathBuf::from(kept),
            None => folder.path().join("screenshots"),
        };
        std::fs::create_dir_all(&screenshots).expect("the screenshots' folder can be made");
        let mut browser = Self {
            driver,
            client: Client::builder(TokioExecutor::new()).build_http(),
            port,
            session: String::new(),
            screenshots,
            _folder: folder,
        };
        eventually("chromedriver serves", START_WITHIN, async || {
            let status = browser.send("GET", "/status", None).await?;
            (status["value"]["ready"] == true).then_some(())
        })
        .await;
        let profile = browser._folder.path().join("profile");
        let options = json!({
            "binary": chromium,
            // Tests run as root in places where the browser's own sandbox cannot be made.
            "args": [
                "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--disable-breakpad",
                "--hide-scrollbars", "--force-prefers-reduced-motion", "--window-size=1360,960",
                format!("--user-data-dir={}", profile.display()),
            ],
        });
        let capabilities = json!({ "capabilities": { "alwaysMatch": {
            "browserName": "chrome", "goog:chromeOptions": options, "goog:loggingPrefs": { "browser": "ALL" },
        } } });
        let session = browser.asked("POST", "/session", capabilities).await;
        browser.session = session["sessionId"].as_str().expect("a session").to_owned();
        browser
    }

    async fn send(&self, method: &str, path: &str, body: Option<&Value>) -> Option<Value> {
        let request = hyper::Request::builder()
            .method(method)
            .uri(format!("http://127.0.0.1:{}{path}", self.port))
            .header("content-type", "application/json")
            .body(Full::from(body.map(Value::to_string).unwrap_or_default()))
            .expect("a request");
        let answer = self.client.request(request).await.ok()?;
        let body = answer.into_body().collect().await.ok()?.to_bytes();
        serde_json::from_slice(&body).ok()
    }

    /// What the driver answers, or its error.
    async fn tried(&self, method: &str, path: &str, body: Value) -> Result<Value, Value> {
        let body = (method == "POST").then_some(&body);
        let answer = tokio::time::timeout(START_WITHIN, self.send(method, path, body)).await;
        let mut answer = answer.expect("chromedriver answers").expect("chromedriver lives");
        let value = answer["value"].take();
        if value.get("error").is_none() {
            Ok(value)
        } else {
            Err(value)
        }
    }

    async fn asked(&self, method: &str, path: &str, body: Value) -> Value {
        let answer = self.tried(method, path, body).await;
        answer.unwrap_or_else(|error| panic!("{method} {path}: {}", error["message"]))
    }

    async fn command(&self, method: &str, path: &str, body: Value) -> Value {
        let path = format!("/session/{}{path}", self.session);
        self.asked(method, &path, body).await
    }

    /// Another window, with a page of its own.
    pub(crate) async fn window(&self, url: &str) -> Window<'_> {
        let made = self
            .command("POST", "/window/new", json!({ "type": "window" }))
            .await;
        let handle = made["handle"].as_str().expect("a window").to_owned();
        let window = Window {
            browser: self,
            handle,
        };
        window.open(url).await;
        window
    }

    /// What pages have complained of in the console since it was asked last, but for answers of the bank that are
    /// refusals: a browser notes those by itself.
    pub(crate) async fn complaints(&self) -> Vec<String> {
        let log = self
            .command("POST", "/se/log", json!({ "type": "browser" }))
            .await;
        let entries = log.as_array().expect("a log").iter();
        entries
            .filter(|entry| entry["source"] != "network")
            .map(|entry| entry["message"].to_string())
            .collect()
    }

    pub(crate) fn screenshots(&self) -> &Path {
        &self.screenshots
    }
}

/// A window of the browser.
pub(crate) struct Window<'a> {
    browser: &'a Browser,
    handle: String,
}

impl Window<'_> {
    async fn command(&self, method: &str, path: &str, body: Value) -> Value {
        let to = json!({ "handle": self.handle });
        self.browser.command("POST", "/window", to).await;
        self.browser.command(method, path, body).await
    }

    pub(crate) async fn open(&self, url: &str) {
        self.command("POST", "/url", json!({ "url": url })).await;
    }

    /// The value of a script, which returns it.
    pub(crate) async fn script(&self, script: &str) -> Value {
        let body = json!({ "script": script, "args": [] });
        self.command("POST", "/execute/sync", body).await
    }

    /// A command of the browser's own protocol.
    async fn devtools(&self, command: &str, parameters: Value) -> Value {
        let body = json!({ "cmd": command, "params": parameters });
        self.command("POST", "/goog/cdp/execute", body).await
    }

    /// As a phone or a screen of this many points shows it.
    pub(crate) async fn resize(&self, width: u32, height: u32) {
        let metrics = json!({
            "width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 500,
        });
        self.devtools("Emulation.setDeviceMetricsOverride", metrics).await;
    }

    /// Does something with an element; nothing while it is not there, or is just being made anew.
    async fn tried_with(&self, css: &str, method: &str, what: &str, body: Value) -> Option<Value> {
        let to = json!({ "handle": self.handle });
        self.browser.command("POST", "/window", to).await;
        let session = format!("/session/{}", self.browser.session);
        let query = json!({ "using": "css selector", "value": css });
        let all = format!("{session}/element");
        let done = match self.browser.tried("POST", &all, query).await {
            Ok(found) => {
                let element = found[ELEMENT].as_str().expect("an element");
                let path = format!("{all}/{element}/{what}");
                self.browser.tried(method, &path, body).await
            }
            Err(error) => Err(error),
        };
        match done {
            Ok(value) => Some(value),
            Err(error) if error["error"] == "no such element" => None,
            Err(error) if error["error"] == "stale element reference" => None,
            Err(error) => panic!("{what} of {css}: {}", error["message"]),
        }
    }

    async fn with(&self, css: &str, method: &str, what: &str, body: Value) -> Value {
        eventually(&format!("{what} of {css}"), PATIENCE, async || {
            self.tried_with(css, method, what, body.clone()).await
        })
        .await
    }

    /// Clicks it as a person would: it has to be there, and nothing in front of it.
    pub(crate) async fn click(&self, css: &str) {
        self.with(css, "POST", "click", json!({})).await;
    }

    /// Types it into a field, in place of what is there.
    pub(crate) async fn write(&self, css: &str, text: &str) {
        self.with(css, "POST", "clear", json!({})).await;
        self.with(css, "POST", "value", json!({ "text": text })).await;
    }

    /// Presses keys, wherever the focus is.
    pub(crate) async fn press(&self, keys: &str) {
        let focused = self.command("GET", "/element/active", Value::Null).await;
        let element = focused[ELEMENT].as_str().expect("something has the focus");
        let typed = json!({ "text": keys });
        self.command("POST", &format!("/element/{element}/value"), typed)
            .await;
    }

    /// What a person reads there: nothing of what is hidden.
    pub(crate) async fn text(&self, css: &str) -> String {
        let text = self.with(css, "GET", "text", Value::Null).await;
        text.as_str().expect("a text").to_owned()
    }

    /// Waits until a person reads it there.
    pub(crate) async fn until(&self, css: &str, text: &str) {
        eventually(&format!("{css} says {text:?}"), PATIENCE, async || {
            let read = self.tried_with(css, "GET", "text", Value::Null).await?;
            read.as_str()?.contains(text).then_some(())
        })
        .await;
    }

    /// Waits until the script returns true.
    pub(crate) async fn until_true(&self, what: &str, script: &str) {
        eventually(what, PATIENCE, async || {
            (self.script(script).await == true).then_some(())
        })
        .await;
    }

    /// The whole page as it looks now.
    pub(crate) async fn screenshot(&self, name: &str) {
        let shot = self
            .devtools("Page.captureScreenshot", json!({ "captureBeyondViewport": true }))
            .await;
        let png = STANDARD
            .decode(shot["data"].as_str().expect("a picture"))
            .expect("base64");
        let path = self.browser.screenshots().join(format!("{name}.png"));
        std::fs::write(path, png).expect("the screenshots' folder is ours");
    }
}

/// Where Debian puts it.
fn program(name: &str) -> PathBuf {
    let found = std::env::var_os("PATH").and_then(|path| {
        std::env::split_paths(&path)
            .map(|folder| folder.join(name))
            .find(|path| path.is_file())
    });
    found.unwrap_or_else(|| {
        panic!("{name} is not installed: run `scripts/install-parts test`, or `apt-get install chromium chromium-driver`")
    })
}
