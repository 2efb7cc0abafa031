//! Makes sure that there is a folder to embed, so that cargo sees when the page is built into it: of a folder that is
//! missing it would think at every build that it changed.

fn main() {
    let dist = std::path::Path::new("static/dist");
    if let Err(error) = std::fs::create_dir_all(dist) {
        println!(
            "cargo::warning=the page cannot be embedded: {}: {error}",
            dist.display()
        );
    }
    println!("cargo::rerun-if-changed=static/dist");
    println!("cargo::rerun-if-changed=build.rs");
}
