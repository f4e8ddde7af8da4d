//! Makes the messages of the protocol from its description, without `protoc`.

use std::error::Error;
use std::path::PathBuf;

use prost::Message;

const PROTO: &str = "proto/tidegate/v1/broker.proto";

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo::rerun-if-changed={PROTO}");
    let files = protox::compile([PROTO], ["proto"])?;
    let out = PathBuf::from(std::env::var("OUT_DIR")?);
    std::fs::write(out.join("descriptors.bin"), files.encode_to_vec())?;
    let mut messages = tonic_prost_build::Config::new();
    messages.enable_type_names();
    let code = tonic_prost_build::configure().bytes(".").btree_map(".");
    code.codec_path("crate::wire::codec::Codec").compile_fds_with_config(files, messages)?;
    Ok(())
}
