//! Compiles the .proto files without protoc.

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let files = [
        "pix/dict/v1/dict.proto",
        "pix/dict/v1/events.proto",
        "pix/settlement/v1/events.proto",
        "pix/settlement/v1/settlement.proto",
        "pix/spi/v1/events.proto",
        "pix/spi/v1/spi.proto",
    ];
    for file in files {
        println!("cargo:rerun-if-changed={file}");
    }
    let descriptors = protox::compile(files, ["."])?;
    tonic_prost_build::compile_fds(descriptors)?;
    Ok(())
}
