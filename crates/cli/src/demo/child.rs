pub(crate) async fn run(_args: super::args::Child) -> Result<(), crate::failure::Failure> {
    Ok(())
}
