//! What a user can do about an error, in the words of the command line: the library's messages say
//! what is wrong, for programs of any kind.

use fastpix::EngineError;
use fastpix::backend::BackendError;
#[cfg(feature = "cuda")]
use fastpix::cuda::CudaError;
use fastpix::families::HyperparametersError;

/// How advice in a message begins; a message that has some gets no more.
const ADVICE: &str = "; use ";

/// The message with a hint behind it, if there is one for what is in the error's chain.
pub fn with_hint(message: String, error: &anyhow::Error) -> String {
    match error.chain().find_map(hint) {
        Some(hint) if !message.contains(ADVICE) => format!("{message}{ADVICE}{hint}"),
        _ => message,
    }
}

/// The options that would avoid an error.
fn hint(error: &(dyn std::error::Error + 'static)) -> Option<&'static str> {
    #[cfg(feature = "cuda")]
    if let Some(error) = error.downcast_ref() {
        return cuda_hint(error);
    }
    if let Some(HyperparametersError::Stated { found, .. }) = error.downcast_ref() {
        return found.starts_with("none").then_some("--hparams FILE.json");
    }
    match error.downcast_ref()? {
        EngineError::WithoutCuda => Some("--device cpu"),
        #[cfg(feature = "cuda")]
        EngineError::Backend(BackendError::Device(error)) => cuda_hint(error.downcast_ref()?),
        EngineError::Backend(BackendError::Unsupported {
            backend: "cpu",
            what: "precision",
            ..
        }) => Some("--precision f32 or bf16, or --device cuda"),
        EngineError::Backend(BackendError::Unsupported {
            backend: "cuda", ..
        }) => Some("--device cpu"),
        _ => None,
    }
}

#[cfg(feature = "cuda")]
fn cuda_hint(error: &CudaError) -> Option<&'static str> {
    match error {
        CudaError::NoDriver
        | CudaError::OldDriver { .. }
        | CudaError::NoDevice { .. }
        | CudaError::OldDevice { .. }
        | CudaError::Rejected { .. }
        | CudaError::Unsupported { .. }
        | CudaError::OutOfMemory { largest: 0, .. } => Some("--device cpu"),
        CudaError::OldForDtype { .. } => Some("--precision f32"),
        CudaError::BeyondF16 { .. } => Some("--precision bf16 or f32"),
        // A smaller batch that fits is in the message; what else a call can fail of is unknown.
        CudaError::OutOfMemory { .. } | CudaError::Driver { .. } | _ => None,
    }
}

#[cfg(test)]
mod tests {
    use anyhow::Context;

    use super::*;

    fn hinted(error: anyhow::Error) -> String {
        with_hint("no".into(), &error)
    }

    #[test]
    fn the_hint_is_found_anywhere_in_the_chain() {
        let engine = || anyhow::Error::from(EngineError::WithoutCuda);
        assert_eq!(hinted(engine()), "no; use --device cpu");
        assert_eq!(hinted(engine().context("above")), "no; use --device cpu");
        assert_eq!(hinted(anyhow::anyhow!("else")), "no");
        assert_eq!(
            hinted(EngineError::from(BackendError::Cancelled).into()),
            "no"
        );
    }

    #[test]
    fn what_a_file_does_not_state_can_be_stated() {
        let error = |found: &str| HyperparametersError::Stated {
            name: "dilations",
            expected: "a list".into(),
            found: found.into(),
        };
        let missing = error("none: the file does not hold them").into();
        assert_eq!(hinted(missing), "no; use --hparams FILE.json");
        assert_eq!(hinted(error("[1]").into()), "no");
    }

    #[test]
    fn a_message_with_advice_gets_no_more() {
        let error = EngineError::WithoutCuda.into();
        let message = "no; use something else";
        assert_eq!(with_hint(message.into(), &error), message);
    }

    #[cfg(feature = "cuda")]
    #[test]
    fn errors_of_a_gpu_have_hints_as_they_are_and_in_the_engines() {
        let old = || CudaError::OldForDtype {
            device: 0,
            found: (7, 5),
            dtype: fastpix::Dtype::Bf16,
        };
        let in_engine = |error: CudaError| EngineError::from(BackendError::from(error));
        for error in [old().into(), in_engine(old()).into()] {
            assert_eq!(hinted(error), "no; use --precision f32");
        }
        let failed: Result<(), _> = Err(in_engine(CudaError::BeyondF16 { found: 1e6 }));
        let error = failed.context("image 3").unwrap_err();
        assert_eq!(hinted(error), "no; use --precision bf16 or f32");
    }
}
