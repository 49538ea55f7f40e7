//! What a network is about: what people call it, and what its values are to them.

/// What is known of a network beside its structure: for people, and for files about its images.
#[derive(Clone, Debug, PartialEq)]
pub struct Info {
    /// The family's name, such as `PixelCNN++`.
    pub family: &'static str,
    /// A short description, for messages.
    pub summary: String,
    /// The numbers that fix it, by the names of its original.
    pub hyperparameters: serde_json::Value,
    /// The (height, width) it was trained on, if known.
    pub image_size: Option<(usize, usize)>,
    /// What its values are.
    pub medium: Medium,
}

/// What the values of a network are to people: how files show them.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
#[non_exhaustive]
pub enum Medium {
    /// Brightness of pixels.
    #[default]
    Pixels,
    /// Codes of a vector quantiser, without any order.
    Codes,
    /// Samples of sound, one per row.
    Audio {
        /// Samples per second, where known.
        sample_rate: Option<u32>,
        /// How sound is made of values.
        companding: Companding,
        /// Sound was filtered before training, `y[t] = x[t] - emphasis x[t - 1]`; 0 for none.
        emphasis: f32,
        /// Then it was multiplied by this; 1 for nothing.
        gain: f32,
    },
}

/// How values and samples of sound, -1 to 1, belong together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Companding {
    /// Values are samples.
    None,
    /// Classes on the mu-law: `floor((f(x) + 1) / 2 mu)` with `f(x) = sign(x) log(1 + mu |x|) /
    /// log(1 + mu)`, as in nnmnkwii, which r9y9/wavenet_vocoder uses: a class is the sample at its
    /// lower edge.
    MuLaw {
        /// One less than there are classes; in models of 2018, as many.
        mu: u32,
    },
    /// Values are `f(x)` of the mu-law, -1 to 1.
    MuLawValues {
        /// As for classes.
        mu: u32,
    },
    /// Values are those of the codes, `linspace(-1, 1, codes)`, each standing for the samples up to
    /// the next, as in tomlepaine/fast-wavenet.
    Linear,
}
